"""Which rows draft which: the full cache's answer first, then that of the same method at the next larger budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsemm.policies import Policy


def whole_rows(of: np.ndarray, policies: Sequence[Policy]) -> list[int]:
    """The rows of the cells without a budget, one a sample, ascending. of: int64 [C, B], see RowPlan."""
    unlimited = [cell for cell, policy in enumerate(policies) if policy.budget is None]
    return sorted({int(row) for cell in unlimited for row in of[cell]})


def drafting_rows(of: np.ndarray, policies: Sequence[Policy]) -> list[list[int]]:
    """For every row the rows of its sample whose answers draft it, best first.

    A row that several cells share follows the first of them.

    Args:
        of: int64 [C, B], the row of every cell and sample.
        policies: one a cell.
    """
    larger = [_next_larger(cell, policies) for cell in range(len(policies))]
    unlimited = [cell for cell, policy in enumerate(policies) if policy.budget is None]
    found: dict[int, list[int]] = {}
    for cell in range(len(policies)):
        for sample, row in enumerate(of[cell].tolist()):
            if row not in found:
                others = [int(of[other, sample]) for other in (*unlimited[:1], *larger[cell])]
                found[row] = [other for other in dict.fromkeys(others) if other != row]
    return [found[row] for row in range(len(found))]


def _next_larger(cell: int, policies: Sequence[Policy]) -> list[int]:
    """The cell of the next larger budget, of the same method if it has one; none above the largest budget."""
    policy = policies[cell]
    if policy.budget is None:
        return []
    above = [
        (other.name != policy.name, other.budget, number)
        for number, other in enumerate(policies)
        if other.budget is not None and other.budget > policy.budget
    ]
    return [min(above)[2]] if above else []
