"""Which recipe of a head score predicts best what masking single heads costs.

Pure functions of result files of the kinds recipes and head_losses. A group of heads (mostly one) is predicted to cost
the sum of its heads' scores; the measure is the rank correlation of prediction and loss over all groups. Intervals are
of a bootstrap over the images of the scores and, drawn apart, those of the losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.reporting.summary import Paths, as_paths
from sparsemm.results.parquet import read_table
from sparsemm.stats import interval, mean_ranks, resample_counts

Floats = NDArray[np.float64]
PARTS = ("matching", "grid", "measure", "weight")
PAPERS = ("released", "released", "argmax", "tokens")
# A choice, and what it is instead: the effects that `effects` gives.
CONTRASTS = {
    ("weight", "tokens", "plain"): "1 / tokens, not plain hits",
    ("measure", "argmax", "mass"): "peak, not attention mass",
    ("grid", "all", "released"): "small image counted",
    ("matching", "exact", "released"): "exact, not released matching",
    ("matching", "stripped", "released"): "stripped, not released matching",
}
COLUMNS = ["model", *PARTS, "groups", "value", "low", "high", "gain", "gain_low", "gain_high"]
EFFECTS = ["model", "choice", "effect", "low", "high"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Rank correlations of a model's recipes with the losses.

    Attributes:
        model: its name.
        recipes: (matching, grid, measure, weight) of each.
        groups: masked groups of heads.
        values: [recipes].
        draws: of resampled images, [draws, recipes].
    """

    model: str
    recipes: list[tuple[str, ...]]
    groups: int
    values: Floats
    draws: Floats


def read_predictions_of_losses(recipes: Paths, losses: Paths, *, draws: int = 500) -> list[Predictions]:
    """The rank correlations of every model that has both files, named <model>.parquet.

    Raises:
        InputError: for a file that cannot be read, and for losses without the run without a mask.
    """
    of_loss = {path.stem: path for path in as_paths(losses)}
    return [_predicted(path, of_loss[path.stem], draws) for path in as_paths(recipes) if path.stem in of_loss]


def _predicted(recipes: Path, losses: Path, draws: int) -> Predictions:
    names, scores = _scores(recipes)
    lost, members = _losses(losses, scores.shape[2])
    predicted = scores @ members  # [recipes, images, groups]

    def correlations(image_counts: Floats, loss_counts: Floats) -> Floats:
        truth = _unit(mean_ranks(loss_counts @ lost))
        guesses = [_unit(mean_ranks(image_counts @ each)) for each in predicted]
        return np.array([float(guess @ truth) for guess in guesses])

    images, pages = predicted.shape[1], len(lost)
    whole = correlations(np.ones(images), np.ones(pages))
    counts = [
        np.concatenate(list(resample_counts(n, draws=draws, seed=s))) for s, n in enumerate((images, pages))
    ]
    drawn = np.array([correlations(*pair) for pair in zip(*counts)])
    return Predictions(recipes.stem, names, members.shape[1], whole, drawn)


def _unit(ranks: Floats) -> Floats:
    centred = ranks - ranks.mean()
    found: Floats = centred / max(float(np.linalg.norm(centred)), 1e-300)
    return found


def _scores(path: Path) -> tuple[list[tuple[str, ...]], Floats]:
    """The recipes' names, and scores [recipes, images, heads]."""
    frame = read_table(path, "recipes")
    wide = frame.pivot(index=[*PARTS, "image_id"], columns=["layer", "head"], values="score").sort_index()
    names = list(dict.fromkeys(tuple(index[:-1]) for index in wide.index))
    return names, wide.to_numpy(np.float64).reshape(len(names), -1, wide.shape[1])


def _losses(path: Path, heads: int) -> tuple[Floats, Floats]:
    """Losses a token of each image [images, groups], and which heads are in a group, [heads, groups]."""
    frame = read_table(path, "head_losses")
    frame = frame.assign(each=frame["loss"] / frame["tokens"])
    wide = frame.pivot(index="image_id", columns="group", values="each").sort_index(axis=1)
    if wide.empty or 0 not in wide.columns or len(wide.columns) < 4:
        raise InputError(f"{path}: no losses to compare: mask three groups or more, and none, of some images")
    lost = wide.drop(columns=0).to_numpy(np.float64) - wide[[0]].to_numpy(np.float64)
    groups = frame[frame["group"] > 0].drop_duplicates("group").sort_values("group")["heads"]
    members = np.zeros((heads, len(groups)))
    for index, group in enumerate(groups):
        members[group, index] = 1.0
    return lost, members


def recipe_rows(found: list[Predictions], *, level: float = 0.95) -> pd.DataFrame:
    """A row a model and recipe: rank correlation, and its gain over the paper's recipe, both with intervals."""
    rows = []
    for each in found:
        paper = each.recipes.index(PAPERS)
        gains, drawn = each.values - each.values[paper], each.draws - each.draws[:, [paper]]
        (low, high), (worst, best) = interval(each.draws, level=level), interval(drawn, level=level)
        columns = zip(each.recipes, each.values, low, high, gains, worst, best)
        rows += [[each.model, *names, each.groups, *numbers] for names, *numbers in columns]
    return pd.DataFrame(rows, columns=COLUMNS)


def effects(found: list[Predictions], *, level: float = 0.95) -> pd.DataFrame:
    """A row a model and choice: mean difference in rank correlation over all settings of the other choices."""
    rows = []
    for each, ((part, one, other), said) in product(found, CONTRASTS.items()):
        place = PARTS.index(part)
        ones = [index for index, names in enumerate(each.recipes) if names[place] == one]
        others = [
            each.recipes.index((*each.recipes[index][:place], other, *each.recipes[index][place + 1 :]))
            for index in ones
        ]
        low, high = interval((each.draws[:, ones] - each.draws[:, others]).mean(axis=1), level=level)
        effect = float((each.values[ones] - each.values[others]).mean())
        rows.append([each.model, said, effect, float(low), float(high)])
    return pd.DataFrame(rows, columns=EFFECTS)
