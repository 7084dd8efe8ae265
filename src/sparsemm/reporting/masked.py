"""Scores with heads masked as shares of the score with none masked, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.methods import MASKS
from sparsemm.reporting.summary import images_of, score_matrix
from sparsemm.stats import bootstrap_means, interval


def relative_scores(
    rows: pd.DataFrame, where: str, level: float = 0.95, draws: int = 2000, kinds: Iterable[str] = MASKS
) -> dict[str, pd.DataFrame]:
    """Relative scores of each kind of mask, with their intervals.

    Args:
        rows: masks of one model on one benchmark.
        where: what the rows are, for messages.
        level: of the intervals.
        draws: resamples of the bootstrap.
        kinds: of masks; those that the rows lack are left out.

    Returns:
        Kind ("visual", "random") to a frame with fraction, ratio, low and high. Empty if the model scores 0 without a
        mask: then there is no ratio.

    Raises:
        InputError: if the unmasked run is missing.
    """
    matrix = score_matrix(rows, ["kind", "fraction", "seed"], f"masks of {where}")
    there = matrix.columns.get_level_values("kind")
    if "none" not in there:
        raise InputError(f"masks of {where}: the run without mask (kind none) is missing; evaluate it too")
    full = matrix["none"].mean(axis=1).to_numpy()
    if full.mean() == 0:
        return {}
    images = images_of(rows, matrix)
    curves = {}
    for kind in kinds:
        if kind not in there:
            continue
        points = []
        for fraction in sorted(set(matrix[kind].columns.get_level_values("fraction"))):
            scores = matrix[kind][fraction].to_numpy()
            low, high = interval(_ratios(scores, full, draws, images), level=level)
            points.append((fraction, scores.mean() / full.mean(), float(low), float(high)))
        curves[kind] = pd.DataFrame(points, columns=["fraction", "ratio", "low", "high"])
    return curves


def _ratios(
    scores: NDArray[np.float64], full: NDArray[np.float64], draws: int, images: list[str]
) -> NDArray[np.float64]:
    """Resampled ratios, [draws].

    Args:
        scores: with masks, [samples, seeds].
        full: without a mask, [samples]; resampled together with `scores`.
        draws: number of resamples, of the samples first, then of the seeds.
        images: of the samples; those of one image are drawn together.
    """
    means = bootstrap_means(np.column_stack([full, scores]), draws=draws, clusters=images)
    seeds = scores.shape[1]
    picks = np.random.default_rng(0).integers(0, seeds, (draws, seeds))
    masked = np.take_along_axis(means[:, 1:], picks, axis=1).mean(axis=1)
    whole = means[:, 0]
    # Without a single right answer in the resample there is no ratio.
    kept: NDArray[np.float64] = masked[whole > 0] / whole[whole > 0]
    return kept
