"""What each policy said beside the truth, for the samples on which policies disagree most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparsemm.methods import main_methods
from sparsemm.reporting.summary import SCORES, Paths, as_paths, in_order
from sparsemm.results.parquet import read_metadata, read_table

SHOWN = 60  # samples a model and benchmark
RIGHT = 0.5  # least score of an answer that counts as right
_LONGEST = 400  # characters of an answer
_FULL = "fullkv"
_KEY = ["sample_id", "policy", "budget"]


def sample_answers(predictions: Paths, run_scores: Paths = (), shown: int = SHOWN) -> list[dict[str, Any]]:
    """One entry a model and benchmark, JSON.

    Samples come in the order in which they are shown: first those where most cells are wrong (below `RIGHT`) that the
    full cache gets right, or right that it gets wrong; of equals the first. An entry's ``cells`` lists the policies and
    budgets; a sample's ``said`` has for each of them the index of its text in ``texts`` (-1 for none), and ``scores``
    its score (None for none).

    Args:
        predictions: files named <model>/<benchmark>/<shard>.parquet.
        run_scores: scores of whole runs, named <model>/<benchmark>.parquet, in place of those of the rows.
        shown: samples of each.

    Raises:
        InputError: for a file that cannot be read.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in as_paths(predictions):
        groups.setdefault((path.parent.parent.name, path.parent.name), []).append(path)
    units = {(path.parent.name, path.stem): path for path in as_paths(run_scores)}
    return [
        _entry(model, benchmark, paths, units.get((model, benchmark)), shown)
        for (model, benchmark), paths in groups.items()
    ]


def _entry(model: str, benchmark: str, paths: list[Path], units: Path | None, shown: int) -> dict[str, Any]:
    columns = [*_KEY, "prediction", "answers", "score"]
    frame = pd.concat([read_table(path, "predictions", columns) for path in paths], ignore_index=True)
    if units is not None:
        own = read_table(units, "run_scores", ["unit", "policy", "budget", SCORES[0]])
        own = own.rename(columns={"unit": "sample_id"})
        frame = frame.drop(columns="score").merge(own, on=_KEY, how="left")
    cells = list(frame[["policy", "budget"]].drop_duplicates().itertuples(index=False, name=None))
    # The first of a file that was written twice: a sample has one answer a cell.
    said = frame.drop_duplicates(_KEY).set_index(_KEY)[["prediction", "score"]]
    truths = frame.drop_duplicates("sample_id").set_index("sample_id")["answers"]
    samples = []
    for sample in _disagreed(frame)[:shown]:
        rows = said.loc[sample].reindex(pd.MultiIndex.from_tuples(cells))
        texts = in_order(_shortened(text) for text in rows["prediction"] if isinstance(text, str))
        samples.append(
            {
                "id": sample,
                "truth": [_shortened(str(answer)) for answer in truths[sample]],
                "texts": texts,
                "said": [
                    texts.index(_shortened(text)) if isinstance(text, str) else -1
                    for text in rows["prediction"]
                ],
                "scores": [round(float(s), 4) if np.isfinite(s) else None for s in rows["score"]],
            }
        )
    return {
        "model": model,
        "benchmark": benchmark,
        "metric": str(read_metadata(paths[0]).get("metric", "score")),
        "total": int(frame["sample_id"].nunique()),
        "right": RIGHT,
        "cells": [[policy, int(budget)] for policy, budget in cells],
        "samples": samples,
    }


def _disagreed(frame: pd.DataFrame) -> list[str]:
    """The samples, those on which most cells of compared methods differ from the full cache first."""
    compared = frame[frame["policy"].isin(main_methods(frame["policy"]))]
    right = compared.pivot_table(index="sample_id", columns=["policy", "budget"], values="score") >= RIGHT
    full = [cell for cell in right.columns if cell[0] == _FULL]
    order = in_order(frame["sample_id"])
    if not full:
        return order
    differs = right.ne(right[full[0]], axis=0).sum(axis=1)
    return sorted(order, key=lambda sample: -int(differs.get(sample, 0)))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
