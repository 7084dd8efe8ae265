"""Reads the result files of a run into one frame and summarises them: means and bootstrap intervals per cell.

A cell is one model, policy, budget and benchmark; model and benchmark are taken from a file's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import main_methods, method_order
from sparsemm.results.parquet import read_metadata, read_table
from sparsemm.stats import bootstrap_means, interval

# The chosen rule set's score, and the score by each rule set.
SCORES = ["score", "score_paper", "score_current"]
_MEANS = ["prompt_tokens", "kept_tokens", "cache_bytes"]
Paths = str | Path | Iterable[str | Path]  # one file or several


def in_order(values: Iterable[str]) -> list[str]:
    """The values without repeats, in their order of first appearance."""
    return list(dict.fromkeys(values))


def read_predictions(paths: Paths, run_scores: Paths = ()) -> pd.DataFrame:
    """Rows of prediction files, with the columns model, benchmark and metric added.

    Where a metric scores a whole run, the scores are those of its units, in the row that stands for the unit; the
    other rows have none (NaN).

    Args:
        paths: files of kind predictions, named .../<model>/<benchmark>/<shard>.parquet.
        run_scores: files of kind run_scores, named .../<model>/<benchmark>.parquet.

    Returns:
        One row per sample and cell, without the texts of predictions and answers.

    Raises:
        InputError: for no files, an unreadable one, a sample that is in two shards, or a unit without its row.
    """
    columns = ["sample_id", "image_id", "policy", "budget", *SCORES]
    columns += ["prompt_tokens", "kept_tokens", "cache_bytes"]
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
    for path in as_paths(run_scores):
        _put_units(joined, path)
    return joined


def _put_units(joined: pd.DataFrame, path: Path) -> None:
    """Write the scores of one run_scores file into the rows of `joined` that stand for its units."""
    model, benchmark = path.parent.name, path.stem
    units = read_table(path, "run_scores", ["unit", "policy", "budget", *SCORES])
    rows = joined.index[(joined["model"] == model) & (joined["benchmark"] == benchmark)]
    keys = pd.MultiIndex.from_frame(joined.loc[rows, ["sample_id", "policy", "budget"]])
    places = keys.get_indexer(pd.MultiIndex.from_frame(units[["unit", "policy", "budget"]]))
    if (places < 0).any():
        unit = units["unit"].iloc[int((places < 0).argmax())]
        raise InputError(f"{path}: unit {unit} is in no predictions of {model}; score the run again")
    joined.loc[rows, SCORES] = float("nan")
    joined.loc[rows[places], SCORES] = units[SCORES].to_numpy()


def read_masks(paths: Paths, predictions: Paths = ()) -> pd.DataFrame:
    """Rows of files of kind masks, named .../<model>/<benchmark>.parquet, with model, benchmark and metric added.

    Args:
        paths: files of kind masks.
        predictions: of the same samples. They say which samples share an image; without them each sample has its own.
    """
    columns = ["sample_id", "kind", "fraction", "seed", "score"]
    images = _images(predictions)
    frames = []
    for path in _given(paths, "masks"):
        metric = str(read_metadata(path).get("metric", "score"))
        frame = read_table(path, "masks", columns)
        frame = frame.assign(model=path.parent.name, benchmark=path.stem, metric=metric)
        known = frame["sample_id"].map(images.get((path.parent.name, path.stem), {}))
        frames.append(frame.assign(image_id=known.fillna(frame["sample_id"])))
    return pd.concat(frames, ignore_index=True)


def _images(predictions: Paths) -> dict[tuple[str, str], dict[str, str]]:
    """(model, benchmark) -> sample to image, of files of kind predictions."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for path in as_paths(predictions):
        rows = read_table(path, "predictions", ["sample_id", "image_id"]).drop_duplicates("sample_id")
        own = found.setdefault((path.parent.parent.name, path.parent.name), {})
        own.update(zip(rows["sample_id"], rows["image_id"]))
    return found


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

    Samples that have no score in any cell are left out: where a metric scores a whole run, some rows stand for no
    unit, and without the metric's program the matrix has no rows at all.

    Args:
        frame: rows with sample_id, score and `columns`.
        columns: their values, as a tuple, name a cell.
        where: what the rows are, for messages.

    Raises:
        InputError: if a cell lacks a sample that another cell has. Means over different samples cannot be compared.
    """
    matrix = frame.pivot(index="sample_id", columns=list(columns), values="score")
    matrix = matrix.dropna(how="all")
    holes = matrix.isna()
    if holes.to_numpy().any():
        cell = holes.any().idxmax()
        sample = holes[cell].idxmax()
        raise InputError(f"{where}: cell {cell} has no score of sample {sample}; run the evaluation again")
    return matrix


def images_of(frame: pd.DataFrame, matrix: pd.DataFrame) -> list[str]:
    """The image of each row of a `score_matrix` of `frame`; bootstraps draw the rows of an image together."""
    images = frame.drop_duplicates("sample_id").set_index("sample_id")["image_id"]
    return list(images.reindex(matrix.index))


def panels(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The (model, benchmark) pairs in the frame, model by model."""
    pairs = frame[["model", "benchmark"]].drop_duplicates()
    found = set(zip(pairs["model"], pairs["benchmark"]))
    benchmarks = in_order(pairs["benchmark"])
    return [(m, b) for m in in_order(pairs["model"]) for b in benchmarks if (m, b) in found]


def part(frame: pd.DataFrame, model: str, benchmark: str) -> pd.DataFrame:
    """The rows of one model on one benchmark."""
    return frame[(frame["model"] == model) & (frame["benchmark"] == benchmark)]


def summarise(predictions: pd.DataFrame, *, level: float = 0.95, draws: int = 2000) -> pd.DataFrame:
    """Means and intervals of every cell.

    Args:
        predictions: rows from `read_predictions`.
        level: of the percentile bootstrap interval over samples; samples that share an image are drawn together.
        draws: resamples of the bootstrap.

    Returns:
        One row per cell: model, benchmark, metric, policy, budget, samples (that have a score), score, ci_low, ci_high
        (NaN where no sample has one), and the means of prompt_tokens, kept_tokens (per KV head) and cache_bytes.
    """
    columns = ["model", "benchmark", "metric", "policy", "budget", "samples", "score", "ci_low", "ci_high"]
    frames = [pd.DataFrame(columns=[*columns, *_MEANS])] if predictions.empty else []
    for model, benchmark in panels(predictions):
        rows = part(predictions, model, benchmark)
        matrix = score_matrix(rows, ["policy", "budget"], f"predictions of {model} on {benchmark}")
        low, high = _interval(matrix, images_of(rows, matrix), level, draws)
        cells = rows.groupby(["policy", "budget"])[_MEANS].mean()
        cells = cells.reindex(matrix.columns)  # of all rows, also those that stand for no unit
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


def _interval(matrix: pd.DataFrame, images: list[str], level: float, draws: int) -> tuple[Any, Any]:
    if matrix.empty:
        return float("nan"), float("nan")
    means = bootstrap_means(matrix.to_numpy(), draws=draws, clusters=images)
    return interval(means, level=level)


def main_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of the compared methods, without ablations and without labels that carry settings."""
    return cells[cells["policy"].isin(main_methods(cells["policy"]))]


def as_paths(paths: Paths) -> list[Path]:
    """One path or several, as a list."""
    return [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]


def top_heads(share: float, heads: int) -> int:
    """How many heads a share of them is: rounded, at least one."""
    return max(1, round(share * heads))


def _given(paths: Paths, kind: str) -> list[Path]:
    found = as_paths(paths)
    if not found:
        raise InputError(f"no {kind} files given: run the stage that makes them")
    return found
