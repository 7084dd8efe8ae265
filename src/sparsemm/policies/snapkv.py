"""SnapKV (arXiv 2404.14469): the same number of tokens for every head of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.base import check_policy, past_tokens


@dataclass(frozen=True)
class SnapKV:
    """k = budget - window for every head."""

    budget: int
    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "snapkv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]; a prompt shorter than the budget is kept whole."""
        return past_tokens(pooled).clamp(max=self.budget - self.window)
