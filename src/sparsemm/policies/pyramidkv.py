"""PyramidKV (arXiv 2406.02069): more tokens in early layers, the same number in every head of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.budget.formulas import pyramid_keep
from sparsemm.errors import InputError
from sparsemm.policies.base import check_policy, past_tokens
from sparsemm.policies.rankers import Ranker


@dataclass(frozen=True)
class PyramidKV:
    """The number of tokens falls linearly over the layers; see `budget.formulas.pyramid_keep`.

    Attributes:
        budget: tokens per KV head, mean over the layers, window included.
        beta: the last layer keeps about (budget - window) / beta tokens beyond the window.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    budget: int
    beta: int = 20
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "pyramidkv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        if self.beta < 1:
            raise InputError(f"{self.name}: beta is {self.beta}: it must be at least 1")

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`."""
        base = self.budget - self.window
        kept: torch.Tensor = pyramid_keep(
            past_tokens(pooled), base, beta=self.beta, layer=layer, num_layers=num_layers
        )
        return kept
