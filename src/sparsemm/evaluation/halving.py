"""Batches that do not fit into a GPU's memory are halved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

from sparsemm.benchmarks import Sample
from sparsemm.errors import InputError
from sparsemm.results.resume import Rows

_LOG = logging.getLogger(__name__)


class Halving:
    """Runs batches in parts that fit: out of memory halves the parts, of this batch and of all later ones.

    Args:
        size: samples of the first batch at most.
    """

    def __init__(self, size: int) -> None:
        self._most = size

    def __call__(self, make: Callable[[Sequence[Sample]], Rows], batch: Sequence[Sample]) -> Rows:
        """The rows of a batch.

        Args:
            make: the rows of some samples.
            batch: the samples.

        Raises:
            InputError: when a single sample does not fit.
        """
        rows: Rows = []
        left = list(batch)
        while left:
            part = left[: self._most]
            try:
                made = make(part)
            except torch.OutOfMemoryError:
                made = None  # and go on outside: here the error would hold the tensors of its frames
            if made is None:
                self._halve(part)
            else:
                rows += made
                left = left[len(part) :]
        return rows

    def _halve(self, part: Sequence[Sample]) -> None:
        if len(part) == 1:
            raise InputError(
                f"{part[0].id}: out of GPU memory with this sample alone; use a GPU with more memory, fewer policies "
                "and budgets, or a smaller max_pixels"
            )
        self._most = len(part) // 2
        torch.cuda.empty_cache()
        _LOG.warning("out of GPU memory with %d samples: going on with %d at once", len(part), self._most)
