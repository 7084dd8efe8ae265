"""SnapKV (arXiv 2404.14469): the same number of tokens in every head of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.base import check_policy, past_tokens
from sparsemm.policies.rankers import Ranker


@dataclass(frozen=True)
class SnapKV:
    """Every head keeps budget - window tokens beyond the window.

    Attributes:
        budget: tokens per KV head, window included.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    budget: int
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "snapkv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`; a prompt shorter than the budget is kept whole."""
        return past_tokens(pooled).clamp(max=self.budget - self.window)
