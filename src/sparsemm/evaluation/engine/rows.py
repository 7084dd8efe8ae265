"""Rows of like size go together, so that rows which see little are not computed over all that others see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowGroup:
    """Rows of one sample that are attended for together: the cells they stand for, and the tokens seen a layer."""

    sample: int
    cells: list[int]
    columns: np.ndarray  # int64 [L] at most this many tokens are seen by any row in any head (nested sets)


def cut_rows(sizes: np.ndarray, overhead: float) -> list[tuple[list[int], np.ndarray]]:
    """Split rows into groups at the least cost: ``overhead`` a group and layer plus rows times the group's columns.

    Args:
        sizes: int64 [rows, L], the most tokens that a head of the row sees in each layer.
        overhead: what a group costs, in (row, column) pairs.

    Returns:
        Per group its row numbers, from small rows to large, and its columns, int64 [L]. Exact for groups that are runs
        of the rows ordered by total size.
    """
    order = np.argsort(sizes.sum(1), kind="stable")
    ordered = sizes[order]
    count, layers = ordered.shape
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    first = np.zeros(count + 1, dtype=np.int64)
    for start in range(count):
        widest = np.maximum.accumulate(ordered[start:]).sum(
            1
        )  # of groups [start, start + 1), [start, start + 2), ...
        cost = best[start] + overhead * layers + widest * np.arange(1, count - start + 1)
        better = cost < best[start + 1 :]
        best[start + 1 :][better] = cost[better]
        first[start + 1 :][better] = start
    groups = []
    end = count
    while end > 0:
        start = int(first[end])
        groups.append((order[start:end].tolist(), ordered[start:end].max(0)))
        end = start
    return groups[::-1]
