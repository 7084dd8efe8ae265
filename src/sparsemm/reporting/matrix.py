"""The cells of a run by their parts: which allocator with which ranker, without settings of their own."""

from __future__ import annotations

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.labels import split_label
from sparsemm.methods import METHODS, RANKERS
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


def parts_of(label: str) -> tuple[str, str] | None:
    """Allocator and ranker of a label; None for the full cache, part of an ablation, and a label with settings."""
    try:
        parts = split_label(label)
    except InputError:
        return None
    method = METHODS[parts.method]
    if parts.method == "fullkv" or method.ablation or parts.settings or parts.ranker_settings:
        return None
    return parts.method, parts.ranker or method.ranker


def matrix_cells(predictions: pd.DataFrame) -> pd.DataFrame:
    """The cells of every pair, and of the full cache, which has neither part.

    Args:
        predictions: rows from `read_predictions`.

    Returns:
        COLUMNS, in the order of METHODS and RANKERS. ``difference`` is the pair's score minus SparseMM's with window
        attention at that budget, over the same samples, with its 95 % bootstrap interval; NaN where it was not run.
        Empty where there are fewer than two rankers.
    """
    labels = {label: parts_of(label) for label in predictions["policy"].unique()}
    pairs = {label: found for label, found in labels.items() if found is not None}
    if len({ranker for _, ranker in pairs.values()}) < 2:
        return pd.DataFrame(columns=COLUMNS)
    rows = predictions[predictions["policy"].isin([*pairs, "fullkv"])]
    cells = summarise(rows)
    named = [pairs.get(label, ("", "")) for label in cells["policy"]]
    cells["allocator"], cells["ranker"] = zip(*named)
    # Two labels may name one pair: "duo_heads" and "duo_heads@streaming".
    cells = cells.drop_duplicates(["model", "benchmark", "budget", "allocator", "ranker"])
    cells = cells.merge(_differences(rows), how="left", on=["model", "benchmark", "policy", "budget"])
    rank = {name: number for number, name in enumerate(["", *METHODS, *RANKERS])}
    order = cells[["allocator", "ranker"]].map(rank.__getitem__)
    keys = cells.assign(_allocator=order["allocator"], _ranker=order["ranker"])
    keys["_place"] = pd.factorize(keys["model"] + "/" + keys["benchmark"])[0]
    return keys.sort_values(["_place", "budget", "_allocator", "_ranker"], ignore_index=True)[COLUMNS]


def _differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Every cell's score minus the reference's at its budget, with the interval."""
    found: list[dict[str, object]] = []
    for model, benchmark in panels(rows):
        own = part(rows, model, benchmark)
        matrix = score_matrix(own, ["policy", "budget"], f"predictions of {model} on {benchmark}")
        images = images_of(own, matrix)
        for label, budget in matrix.columns:
            if label != REFERENCE or matrix.empty:
                continue
            others = matrix.loc[:, matrix.columns.get_level_values("budget") == budget]
            minus = others.sub(matrix[label, budget], axis=0).drop(columns=[(label, budget)])
            low, high = interval(bootstrap_means(minus.to_numpy(), clusters=images))
            ends = zip(minus.columns, minus.mean(), low, high)
            where = {"model": model, "benchmark": benchmark, "budget": budget}
            found += [
                where | {"policy": name, "difference": mean, "difference_low": a, "difference_high": b}
                for (name, _), mean, a, b in ends
            ]
    columns = ["model", "benchmark", "policy", "budget", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(found, columns=columns)
