"""LocalWindow: the whole budget is the window of newest tokens (first row of the paper's table 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.base import check_ranker, past_tokens
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.rankers.base import check_kernel


@dataclass(frozen=True)
class LocalWindow:
    """Keeps the newest `budget` tokens: the window is the budget, and nothing beyond it is kept.

    Attributes:
        budget: tokens per KV head.
        kernel: without effect, a part of the policy protocol.
        ranker: without effect.
    """

    budget: int
    kernel: int = 5
    ranker: Ranker | None = None
    name: ClassVar[str] = "local_window"

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InputError(f"{self.name}: budget is {self.budget}: it must be at least 1 token")
        check_kernel(self.name, self.kernel)
        check_ranker(self.name, self.ranker)

    @property
    def window(self) -> int:
        """The whole budget."""
        return self.budget

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`: none beyond the window."""
        return torch.zeros_like(past_tokens(pooled))
