"""FullKV: no compression, the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.base import check_ranker, past_tokens
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.rankers.base import check_kernel


@dataclass(frozen=True)
class FullKV:
    """Keeps every token of the prompt.

    Attributes:
        window: without effect, a part of the policy protocol.
        kernel: without effect, a part of the policy protocol.
        ranker: without effect.
    """

    window: int = 32
    kernel: int = 5
    ranker: Ranker | None = None
    name: ClassVar[str] = "fullkv"
    budget: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"{self.name}: window is {self.window}: it must be at least 1 token")
        check_kernel(self.name, self.kernel)
        check_ranker(self.name, self.ranker)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`: all tokens."""
        return past_tokens(pooled)
