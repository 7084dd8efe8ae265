"""Bootstrap intervals, paired and one-sided tests and rank correlation, in numpy.

The same values and seed give the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsemm.errors import InputError

_BLOCK = 1 << 22  # random numbers drawn at once, to bound memory


@dataclass(frozen=True)
class Paired:
    """Comparison of paired values.

    Attributes:
        difference: mean of a - b.
        low, high: its bootstrap interval.
        p_value: two-sided, of the hypothesis that the mean is 0.
    """

    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    values: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    clusters: Sequence[Any] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of values [N].

    Args:
        clusters: as in `bootstrap_means`.
        level: share of the resamples inside the interval, between 0 and 1.
        draws: resamples.

    Raises:
        InputError: no values, a value that is not finite, or a level outside (0, 1).
    """
    means = bootstrap_means(values, draws=draws, seed=seed, clusters=clusters)
    low, high = interval(means, level=level)
    return float(low), float(high)


def bootstrap_mean(
    values: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    clusters: Sequence[Any] | None = None,
) -> tuple[float, float, float]:
    """Mean of values [N] and its interval: (mean, low, high). Arguments as in `bootstrap_interval`."""
    low, high = bootstrap_interval(values, level=level, draws=draws, seed=seed, clusters=clusters)
    return float(np.mean(np.asarray(values, dtype=np.float64))), low, high


def bootstrap_means(
    values: ArrayLike, *, draws: int = 2000, seed: int = 0, clusters: Sequence[Any] | None = None
) -> NDArray[np.float64]:
    """Means of `draws` resamples along the first axis: [N, ...] -> float64 [draws, ...].

    Args:
        draws: resamples.
        clusters: a key for each of the N values; values with equal keys, such as questions about one image, are drawn
            together, and a mean is over the values of the drawn clusters. None: value by value, as where all differ.

    Raises:
        InputError: no values, a value that is not finite, or not one key for each value.
    """
    table = _checked(values)
    flat = table.reshape(len(table), -1)
    sums, sizes = (flat, None) if clusters is None else _cluster_sums(flat, clusters)
    means = []
    for counts in resample_counts(len(sums), draws=draws, seed=seed):
        drawn = len(table) if sizes is None else (counts @ sizes)[:, None]
        means.append(counts @ sums / drawn)
    return np.concatenate(means).reshape(draws, *table.shape[1:])


def _cluster_sums(
    flat: NDArray[np.float64], clusters: Sequence[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Sums [K, F] and sizes [K] of the clusters of `flat` [N, F]; the values and None where each is its own cluster."""
    if len(clusters) != len(flat):
        raise InputError(f"{len(flat)} values have {len(clusters)} cluster keys: give one for each")
    numbers: dict[Any, int] = {}
    index = np.array([numbers.setdefault(key, len(numbers)) for key in clusters])
    if len(numbers) == len(flat):
        return flat, None
    sums = np.zeros((len(numbers), flat.shape[1]))
    np.add.at(sums, index, flat)
    return sums, np.bincount(index).astype(np.float64)


def resample_counts(count: int, *, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of `count` items occurs in each resample: float64 blocks [d, count], `draws` rows in total."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // count)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picks = rng.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(picks.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def interval(samples: NDArray[np.float64], *, level: float = 0.95) -> tuple[Any, Any]:
    """Percentiles (low, high) along the first axis, with the middle `level` of the samples between them."""
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
    clusters: Sequence[Any] | None = None,
) -> Paired:
    """Difference of the means of a and b [N], whose values are paired by sample; `clusters` as in `bootstrap_means`.

    The p value is twice the smaller share of resampled means on one side of 0, with one added to the counts.

    Raises:
        InputError: other shapes, no values, or a value that is not finite.
    """
    differences = _differences(a, b)
    means = bootstrap_means(differences, draws=draws, seed=seed, clusters=clusters)
    low, high = interval(means, level=level)
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Paired(
        float(differences.mean()), float(low), float(high), min(1.0, 2.0 * (beyond + 1) / (draws + 1))
    )


def paired_permutation(
    a: Sequence[float] | NDArray[Any],
    b: Sequence[float] | NDArray[Any],
    *,
    draws: int = 2000,
    seed: int = 0,
    clusters: Sequence[Any] | None = None,
) -> float:
    """Two-sided p value of the sign-flip permutation test on the differences of a and b [N].

    It is the share of random sign assignments whose mean difference is at least as large, with one added to the counts.
    Values with equal `clusters` keys, such as questions about one image, change their sign together.
    """
    differences = _differences(a, b)
    if clusters is not None:
        differences = _cluster_sums(differences[:, None], clusters)[0][:, 0]
    observed = abs(float(differences.sum()))
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // len(differences))
    larger = 0
    for start in range(0, draws, step):
        signs = rng.integers(0, 2, (min(step, draws - start), len(differences))) * 2 - 1
        larger += int((np.abs(signs @ differences) >= observed - 1e-12).sum())
    return (larger + 1) / (draws + 1)


def sides(draws: NDArray[np.float64], bound: float) -> tuple[float, float]:
    """One-sided bootstrap p values (above, below) of the hypotheses "at most `bound`" and "at least `bound`".

    Each is the share of the resampled values that agree with its hypothesis, with one added to the counts.
    """
    values = np.round(draws - bound, 12)  # sums in another order differ in the last bits
    above, below = int((values <= 0).sum()), int((values >= 0).sum())
    return (above + 1) / (len(draws) + 1), (below + 1) / (len(draws) + 1)


def equivalence(draws: NDArray[np.float64], margin: float) -> tuple[float, float]:
    """Two one-sided tests: p values (inside, outside) of "further than `margin` from 0" and "at most `margin` from 0".

    The first is the larger of the two one-sided p values, the second twice the smaller one of the opposite sides.
    """
    over_low, under_low = sides(draws, -margin)
    over_high, under_high = sides(draws, margin)
    return max(over_low, under_high), min(1.0, 2.0 * min(under_low, over_high))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p values: with those at most a level rejected, any rejection is false at most that often."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


def ratios(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios of resampled means [draws]; draws whose denominator is not above 0 have none and are left out."""
    kept = denominators > 0
    found: NDArray[np.float64] = numerators[kept] / denominators[kept]
    return found


def growths(
    x: ArrayLike, y: ArrayLike, *, draws: int = 2000, seed: int = 0
) -> tuple[float, NDArray[np.float64]]:
    """How much a straight line through points grows from the smallest x to the largest, as a share of where it starts.

    Args:
        x, y: at least three points [N], with two different x.
        draws: lines drawn around the fitted one, by the t distribution of least squares.
        seed: of the draws.

    Returns:
        The growth of the fitted line, and that of each drawn line.

    Raises:
        InputError: too few points, or a line that does not start above 0.
    """
    at, values = _checked(x), _checked(y)
    if len(at) < 3 or np.ptp(at) == 0:
        raise InputError("a line with an interval needs three points and two different x")
    design = np.column_stack([(at - at.min()) / np.ptp(at), np.ones(len(at))])
    fitted, *_ = np.linalg.lstsq(design, values, rcond=None)
    if fitted[1] <= 0:
        raise InputError("the fitted line does not start above 0: it has no growth as a share of its start")
    free = len(at) - 2
    spread = float(((values - design @ fitted) ** 2).sum()) / free
    root = np.linalg.cholesky(np.linalg.inv(design.T @ design)) * np.sqrt(spread)
    rng = np.random.default_rng(seed)
    scale = np.sqrt(free / rng.chisquare(free, draws))
    lines = fitted + rng.standard_normal((draws, 2)) @ root.T * scale[:, None]
    return float(fitted[0] / fitted[1]), ratios(lines[:, 0], lines[:, 1])


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """a - b as float64 [N]."""
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(
            f"paired values have shapes {first.shape} and {second.shape}: give one pair a sample"
        )
    return first - second


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    """Values as float64, if there are some and all are finite."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim == 0 or len(table) == 0:
        raise InputError("no values to resample: give at least one")
    if not np.isfinite(table).all():
        raise InputError("values to resample hold NaN or infinity: leave those samples out or mend them")
    return table


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two vectors [N]; equal values get their mean rank. 0 if one is constant."""
    x, y = (mean_ranks(values) - (values.size - 1) / 2 for values in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def top_overlap(a: NDArray[np.float64], b: NDArray[np.float64], top: int) -> float:
    """Share of the `top` highest places of two vectors [N] that both have; of equal values the first count."""
    first, second = (set(np.argsort(-values, kind="stable")[:top].tolist()) for values in (a, b))
    return len(first & second) / top


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values get the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (2 * ends - counts - 1) / 2.0
    ranks: NDArray[np.float64] = means[inverse]
    return ranks
