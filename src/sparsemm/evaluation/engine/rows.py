"""Which rows a batch decodes, and length bucketing of the rows of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sparsemm.evaluation.engine.bucketing import bucket_rows
from sparsemm.policies import Policy
from sparsemm.policies.base import ranker_of


@dataclass(frozen=True)
class RowGroup:
    """Rows of one sample whose attention is computed together.

    Attributes:
        sample: index of the sample in the batch.
        cells: for every row the first of the cells that it stands for.
        columns: int64 [L], the most prompt tokens that any of the rows sees in any head of a layer.
    """

    sample: int
    cells: list[int]
    columns: np.ndarray


@dataclass(frozen=True)
class RowPlan:
    """The rows to decode, as groups of one sample each, and the row of every (cell, sample)."""

    groups: list[RowGroup]
    of: np.ndarray  # int64 [C, B] row number


def plan_rows(
    keep: torch.Tensor, lengths: Sequence[int], policies: Sequence[Policy], overhead: float
) -> RowPlan:
    """Share a row between cells with equal kept sets, and put the rows of a sample into groups of similar size.

    Args:
        keep: int64 [C, B, L, Hkv], tokens kept beyond the window.
        lengths: prompt tokens of every sample.
        policies: one a cell.
        overhead: see `bucket_rows`.
    """
    counts = keep.cpu().numpy()
    of = np.zeros(counts.shape[:2], dtype=np.int64)
    groups: list[RowGroup] = []
    total = 0
    for sample, length in enumerate(lengths):
        shared = list(_equal_cells(counts[:, sample], length, policies).values())
        firsts = [cells[0] for cells in shared]
        windows = np.array([policies[cell].window for cell in firsts])
        sizes = np.minimum(counts[firsts, sample].max(-1) + windows[:, None], length)  # [rows, L]
        for numbers, columns in bucket_rows(sizes, overhead):
            groups.append(RowGroup(sample, [firsts[number] for number in numbers], columns))
            for row, number in enumerate(numbers, start=total):
                of[shared[number], sample] = row
            total += len(numbers)
    return RowPlan(groups, of)


def _equal_cells(counts: np.ndarray, length: int, policies: Sequence[Policy]) -> dict[object, list[int]]:
    """Cells of one sample by what they keep, in order of the first of each. counts: int64 [C, L, Hkv]."""
    found: dict[object, list[int]] = {}
    for cell, policy in enumerate(policies):
        whole = bool((counts[cell] >= length - policy.window).all())
        key = "whole" if whole else (ranker_of(policy), counts[cell].tobytes())
        found.setdefault(key, []).append(cell)
    return found
