"""Bootstrap intervals and paired tests, in numpy. Seeded: the same numbers give the same interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsemm.errors import InputError

_BLOCK = 1 << 22  # random indexes drawn at once


@dataclass(frozen=True)
class Paired:
    """Mean of a - b over pairs, its interval, and the two-sided p value of "no difference"."""

    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    values: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of the mean of values, [N]: percentile bootstrap over the values."""
    low, high = interval(bootstrap_means(values, draws=draws, seed=seed), level=level)
    return float(low), float(high)


def bootstrap_mean(
    values: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high) of values, [N]."""
    low, high = bootstrap_interval(values, level=level, draws=draws, seed=seed)
    return float(np.mean(np.asarray(values, dtype=np.float64))), low, high


def bootstrap_means(values: ArrayLike, *, draws: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    """Means of `draws` resamples of values along their first axis: [N, ...] -> float64 [draws, ...]."""
    table = _checked(values)
    flat = table.reshape(len(table), -1)
    means = [counts @ flat / len(table) for counts in resample_counts(len(table), draws=draws, seed=seed)]
    return np.concatenate(means).reshape(draws, *table.shape[1:])


def resample_counts(count: int, *, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` items is in each resample, in blocks [d, count] of together `draws` rows."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // count)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picks = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def interval(samples: NDArray[np.float64], *, level: float = 0.95) -> tuple[Any, Any]:
    """Percentiles (low, high) over the first axis that hold the middle `level` of the samples."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}: give a share between 0 and 1, such as 0.95")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail], axis=0)
    return low, high


def paired_bootstrap(
    a: Sequence[float] | NDArray[Any],
    b: Sequence[float] | NDArray[Any],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Paired:
    """Difference of the means of a and b, pair by pair the same samples; p from its bootstrap."""
    gap = _gap(a, b)
    means = bootstrap_means(gap, draws=draws, seed=seed)
    low, high = interval(means, level=level)
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Paired(float(gap.mean()), float(low), float(high), min(1.0, 2.0 * (beyond + 1) / (draws + 1)))


def paired_permutation(
    a: Sequence[float] | NDArray[Any], b: Sequence[float] | NDArray[Any], *, draws: int = 2000, seed: int = 0
) -> float:
    """Two-sided p value of the sign-flip test: how often random signs give as large a mean difference."""
    gap = _gap(a, b)
    observed = abs(float(gap.sum()))
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(gap))
    larger = 0
    for start in range(0, draws, step):
        signs = rng.integers(0, 2, (min(step, draws - start), len(gap))) * 2 - 1
        larger += int((np.abs(signs @ gap) >= observed - 1e-12).sum())
    return (larger + 1) / (draws + 1)


def _gap(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"paired values have shapes {first.shape} and {second.shape}: give one pair a sample"
        )
    return first - second


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim == 0 or len(table) == 0:
        raise InputError("no values to resample: give at least one")
    if not np.isfinite(table).all():
        raise InputError("values to resample hold NaN or infinity: leave those samples out or mend them")
    return table


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation of two vectors, equal values share their mean rank; 0 where one is constant."""
    x, y = (_mean_ranks(values) - (values.size - 1) / 2 for values in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (2 * ends - counts - 1) / 2.0
    ranks: NDArray[np.float64] = means[inverse]
    return ranks
