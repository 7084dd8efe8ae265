"""KeyDiff (arXiv 2504.15364): tokens whose keys differ most from the mean key first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from sparsemm.policies.rankers.base import before_window, check_settings


@dataclass(frozen=True)
class KeyDiff:
    """A token's value is minus the cosine between its key and the mean of all keys, each of length 1.

    Attributes:
        window: newest prompt tokens, always kept; their keys count in the mean.
    """

    window: int = 32
    name: ClassVar[str] = "key_diff"
    sums: ClassVar[bool] = False
    needs_image: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    def rank(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        valid: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Ranker.rank`."""
        unit = functional.normalize(key.float(), dim=-1)
        counted = unit if valid is None else unit.masked_fill(~valid[:, None, :, None], 0.0)
        anchor = functional.normalize(counted.sum(dim=2, keepdim=True), dim=-1)  # [B, Hkv, 1, D]
        return before_window(-(unit * anchor).sum(dim=-1), self.window, valid)
