"""Length bucketing of the rows of one sample. No torch: preflight plans memory with it."""

from __future__ import annotations

import numpy as np


def bucket_rows(sizes: np.ndarray, overhead: float) -> list[tuple[list[int], np.ndarray]]:
    """Length bucketing: split rows into groups at the least cost.

    The cost is ``overhead`` a group and layer, plus rows times the group's columns. One group would compute rows that
    see few tokens over all tokens that the others see.

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
        # Columns, over all layers, of the groups [start, start + 1), [start, start + 2), ...
        widest = np.maximum.accumulate(ordered[start:]).sum(1)
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
