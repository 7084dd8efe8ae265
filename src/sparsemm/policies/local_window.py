"""The first row of the paper's table 4: the whole budget as one recency window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.base import check_kernel, past_tokens


@dataclass(frozen=True)
class LocalWindow:
    """Keeps the newest `budget` tokens and nothing else: window = budget, keep = 0."""

    budget: int
    kernel: int = 5
    name: ClassVar[str] = "local_window"

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InputError(f"{self.name}: budget is {self.budget}: it must be at least 1 token")
        check_kernel(self.name, self.kernel)

    @property
    def window(self) -> int:
        """All of the budget."""
        return self.budget

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]: none beyond the window."""
        return torch.zeros_like(past_tokens(pooled))
