"""How much two rankings of the same heads agree, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsemm.heads.samples import Floats
from sparsemm.stats import interval, spearman, top_overlap


@dataclass(frozen=True)
class Agreement:
    """Agreement of two rankings. Intervals are over probe images, None where no per-image results are known.

    Attributes:
        spearman: rank correlation over all heads, -1 to 1.
        overlap: share of the top heads that both rankings have, 0 to 1.
    """

    spearman: float
    overlap: float
    spearman_interval: tuple[float, float] | None
    overlap_interval: tuple[float, float] | None


def compare(a: Floats, b: Floats, top: int) -> tuple[Floats, Floats]:
    """Spearman correlation and overlap of the ``top`` heads, row by row.

    Args:
        a, b: [R, heads]; one of them may have a single row, which is compared with every row of the other.
        top: number of heads.

    Returns:
        Two arrays [R].
    """
    rows = max(len(a), len(b))
    pairs = [(a[i % len(a)], b[i % len(b)]) for i in range(rows)]
    ranks = [spearman(x, y) for x, y in pairs]
    return np.array(ranks), np.array([top_overlap(x, y, top) for x, y in pairs])


def agreement_of(
    point: tuple[Floats, Floats], resampled: tuple[Floats, Floats] | None, top: int, level: float
) -> Agreement:
    """Agreement of two score tables.

    Args:
        point: the scores themselves, [1, heads] each.
        resampled: scores of resampled probe sets, [R, heads] each as in `compare`; None: no intervals.
        top: number of heads whose overlap is counted.
        level: of the intervals.
    """
    rank, overlap = (float(column[0]) for column in compare(*point, top))
    if resampled is None:
        return Agreement(rank, overlap, None, None)
    ends = [interval(column, level=level) for column in compare(*resampled, top)]
    intervals = [(float(low), float(high)) for low, high in ends]
    return Agreement(rank, overlap, intervals[0], intervals[1])
