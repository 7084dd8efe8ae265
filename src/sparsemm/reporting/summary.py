"""Reads the result files of a run into one frame and summarises them: means and bootstrap intervals per cell.

A cell is one model, policy, budget and benchmark; model and benchmark are taken from a file's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import main_methods, method_order
from sparsemm.results.parquet import read_metadata, read_table
from sparsemm.stats import bootstrap_means, interval

Paths = str | Path | Iterable[str | Path]  # one file or several


def in_order(values: Iterable[str]) -> list[str]:
    """The values without repeats, in their order of first appearance."""
    return list(dict.fromkeys(values))


def read_predictions(paths: Paths) -> pd.DataFrame:
    """Rows of prediction files, with the columns model, benchmark and metric added.

    Args:
        paths: files of kind predictions, named .../<model>/<benchmark>/<shard>.parquet.

    Returns:
        One row per sample and cell, without the texts of predictions and answers.

    Raises:
        InputError: for no files, an unreadable one, or a sample that is in two shards.
    """
    columns = ["sample_id", "policy", "budget", "score", "prompt_tokens", "kept_tokens", "cache_bytes"]
    frames = []
    for path in _given(paths, "predictions"):
        frame = read_table(path, "predictions", columns)
        benchmark, model = path.parent.name, path.parent.parent.name
        metric = str(read_metadata(path).get("metric", "score"))
        frames.append(frame.assign(model=model, benchmark=benchmark, metric=metric))
    joined = pd.concat(frames, ignore_index=True)
    twice = joined.duplicated(["model", "benchmark", "sample_id", "policy", "budget"])
    if twice.any():
        row = joined[twice].iloc[0]
        raise InputError(
            f"predictions of {row.model} on {row.benchmark}: sample {row.sample_id} is in two shards; "
            "remove shards of another run"
        )
    return joined


def read_masks(paths: Paths) -> pd.DataFrame:
    """Rows of files of kind masks, named .../<model>/<benchmark>.parquet, with model, benchmark and metric added."""
    columns = ["sample_id", "kind", "fraction", "seed", "score"]
    frames = []
    for path in _given(paths, "masks"):
        metric = str(read_metadata(path).get("metric", "score"))
        frame = read_table(path, "masks", columns)
        frames.append(frame.assign(model=path.parent.name, benchmark=path.stem, metric=metric))
    return pd.concat(frames, ignore_index=True)


def read_efficiency(paths: Paths) -> pd.DataFrame:
    """Rows of files of kind efficiency, named .../<model>/<policy>-<tokens>.parquet, with the column model added."""
    frames = [
        read_table(path, "efficiency").assign(model=path.parent.name) for path in _given(paths, "efficiency")
    ]
    return pd.concat(frames, ignore_index=True)


def read_profile(paths: Paths) -> pd.DataFrame:
    """Rows of files of kind profile, named .../<model>/<policy>-<tokens>.parquet, with the column model added."""
    frames = [read_table(path, "profile").assign(model=path.parent.name) for path in _given(paths, "profile")]
    return pd.concat(frames, ignore_index=True)


def score_matrix(frame: pd.DataFrame, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Scores as a matrix: one row per sample, one column per cell.

    Args:
        frame: rows with sample_id, score and `columns`.
        columns: their values, as a tuple, name a cell.
        where: what the rows are, for messages.

    Raises:
        InputError: if a cell lacks a sample that another cell has. Means over different samples cannot be compared.
    """
    matrix = frame.pivot(index="sample_id", columns=list(columns), values="score")
    holes = matrix.isna()
    if holes.to_numpy().any():
        cell = holes.any().idxmax()
        sample = holes[cell].idxmax()
        raise InputError(f"{where}: cell {cell} has no score of sample {sample}; run the evaluation again")
    return matrix


def panels(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The (model, benchmark) pairs in the frame, model by model."""
    found = set(zip(frame["model"], frame["benchmark"]))
    benchmarks = in_order(frame["benchmark"])
    return [(m, b) for m in in_order(frame["model"]) for b in benchmarks if (m, b) in found]


def part(frame: pd.DataFrame, model: str, benchmark: str) -> pd.DataFrame:
    """The rows of one model on one benchmark."""
    return frame[(frame["model"] == model) & (frame["benchmark"] == benchmark)]


def summarise(predictions: pd.DataFrame, *, level: float = 0.95, draws: int = 2000) -> pd.DataFrame:
    """Means and intervals of every cell.

    Args:
        predictions: rows from `read_predictions`.
        level: of the percentile bootstrap interval over samples.
        draws: resamples of the bootstrap.

    Returns:
        One row per cell: model, benchmark, metric, policy, budget, samples, score, ci_low, ci_high, and the means of
        prompt_tokens, kept_tokens (per KV head) and cache_bytes.
    """
    frames = []
    for model, benchmark in panels(predictions):
        rows = part(predictions, model, benchmark)
        matrix = score_matrix(rows, ["policy", "budget"], f"predictions of {model} on {benchmark}")
        low, high = interval(bootstrap_means(matrix.to_numpy(), draws=draws), level=level)
        cells = rows.groupby(["policy", "budget"])[["prompt_tokens", "kept_tokens", "cache_bytes"]].mean()
        cells = cells.reindex(matrix.columns)
        cells.insert(0, "samples", len(matrix))
        cells.insert(1, "score", matrix.mean())
        cells.insert(2, "ci_low", low)
        cells.insert(3, "ci_high", high)
        cells = cells.reset_index()
        cells.insert(0, "model", model)
        cells.insert(1, "benchmark", benchmark)
        cells.insert(2, "metric", rows["metric"].iloc[0])
        rank = {label: index for index, label in enumerate(method_order(cells["policy"]))}
        order = cells["policy"].map(rank)
        frames.append(cells.assign(_order=order).sort_values(["_order", "budget"]).drop(columns="_order"))
    return pd.concat(frames, ignore_index=True)


def main_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the compared methods, without ablations and without labels that carry settings."""
    return cells[cells["policy"].isin(main_methods())]


def as_paths(paths: Paths) -> list[Path]:
    """One path or several, as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def top_tenth(heads: int) -> int:
    """How many heads are the top 10 % of `heads`: rounded, at least one."""
    return max(1, round(heads * 0.1))


def _given(paths: Paths, kind: str) -> list[Path]:
    found = as_paths(paths)
    if not found:
        raise InputError(f"no {kind} files given: run the stage that makes them")
    return found
