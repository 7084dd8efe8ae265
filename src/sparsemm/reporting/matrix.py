"""The cells of a run by their parts: which allocator with which ranker, with the question known or not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sparsemm.errors import InputError
from sparsemm.labels import split_label, split_question, with_question
from sparsemm.methods import METHODS, QUESTIONS, RANKERS
from sparsemm.reporting.summary import images_of, panels, part, score_matrix, summarise
from sparsemm.stats import bootstrap_means, interval

REFERENCE = "sparsemm"  # what every pair is compared with
PUBLISHED = (
    "sparsemm",
    "snapkv",
    "pyramidkv",
    "adakv",
    "random_heads",
)  # the paper's, with their own rankers
COLUMNS = [
    "model",
    "benchmark",
    "metric",
    "question",
    "budget",
    "allocator",
    "ranker",
    "samples",
    "score",
    "ci_low",
    "ci_high",
    "difference",
    "difference_low",
    "difference_high",
    "prompt_tokens",
    "kept_tokens",
    "cache_bytes",
]


def parts_of(label: str) -> tuple[str, str, str] | None:
    """Allocator, ranker and question mode of a label; None for the full cache, part of an ablation, other settings."""
    try:
        own, question = split_question(label)
        parts = split_label(own)
    except InputError:
        return None
    method = METHODS[parts.method]
    if parts.method == "fullkv" or method.ablation or parts.settings or parts.ranker_settings:
        return None
    return parts.method, parts.ranker or method.ranker, question


def matrix_cells(predictions: pd.DataFrame) -> pd.DataFrame:
    """The cells of every pair, and of the full cache, which has neither part.

    Args:
        predictions: rows from `read_predictions`.

    Returns:
        COLUMNS, in the order of METHODS and RANKERS. ``difference`` is the pair's score minus SparseMM's with window
        attention at that budget, its question known or not alike, over the same samples, with its 95 % bootstrap
        interval; NaN where it was not run.
        Empty where there are fewer than two rankers.
    """
    labels = {label: parts_of(label) for label in predictions["policy"].unique()}
    pairs = {label: found for label, found in labels.items() if found is not None}
    if len({ranker for _, ranker, _ in pairs.values()}) < 2:
        return pd.DataFrame(columns=COLUMNS)
    rows = predictions[predictions["policy"].isin([*pairs, "fullkv"])]
    cells = summarise(rows)
    named = [pairs.get(label, ("", "", QUESTIONS[0])) for label in cells["policy"]]
    cells["allocator"], cells["ranker"], cells["question"] = zip(*named)
    # Two labels may name one pair: "duo_heads" and "duo_heads@streaming".
    cells = cells.drop_duplicates(["model", "benchmark", "budget", "allocator", "ranker", "question"])
    cells = cells.merge(_differences(rows), how="left", on=["model", "benchmark", "policy", "budget"])
    rank = {name: number for number, name in enumerate(["", *QUESTIONS, *METHODS, *RANKERS])}
    order = cells[["question", "allocator", "ranker"]].map(rank.__getitem__).add_prefix("_")
    keys = pd.concat([cells, order], axis=1)
    keys["_place"] = pd.factorize(keys["model"] + "/" + keys["benchmark"])[0]
    by = ["_place", "_question", "budget", "_allocator", "_ranker"]
    return keys.sort_values(by, ignore_index=True)[COLUMNS]


def _differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Every cell's score minus the reference's at its budget, with the interval."""
    found: list[dict[str, object]] = []
    for model, benchmark in panels(rows):
        own = part(rows, model, benchmark)
        matrix = score_matrix(own, ["policy", "budget"], f"predictions of {model} on {benchmark}")
        images = images_of(own, matrix)
        for question in QUESTIONS:
            label = with_question(REFERENCE, question)
            modes = [
                split_question(name)[1] == question for name in matrix.columns.get_level_values("policy")
            ]
            for budget in [] if matrix.empty else matrix.columns.unique("budget"):
                if (label, budget) not in matrix.columns:
                    continue
                alike = np.array(modes) & (matrix.columns.get_level_values("budget") == budget)
                minus = (
                    matrix.loc[:, alike].sub(matrix[label, budget], axis=0).drop(columns=[(label, budget)])
                )
                found += _minus(minus, images, {"model": model, "benchmark": benchmark, "budget": budget})
    columns = ["model", "benchmark", "policy", "budget", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(found, columns=columns)


def _minus(minus: pd.DataFrame, images: list[str], where: dict[str, object]) -> list[dict[str, object]]:
    """Means of differences [samples, cells] with their intervals, a row a cell."""
    if minus.empty:
        return []
    low, high = interval(bootstrap_means(minus.to_numpy(), clusters=images))
    return [
        where | {"policy": name, "difference": mean, "difference_low": a, "difference_high": b}
        for (name, _), mean, a, b in zip(minus.columns, minus.mean(), low, high)
    ]
