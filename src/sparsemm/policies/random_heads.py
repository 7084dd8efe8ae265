"""RandomHeads: SparseMM's allocation with random scores, the control for the choice of heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.budget.allocation import check_fraction, random_scores
from sparsemm.policies.base import check_policy
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.sparsemm import SparseMM


@dataclass(frozen=True)
class RandomHeads:
    """SparseMM with scores drawn uniformly per KV head and normalised over the model.

    Attributes:
        budget: tokens per KV head, mean over the model, window included.
        seed: of the scores; the same seed and model give the same allocation.
        rho: share of budget - window that every head gets, 0 to 1.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    budget: int
    seed: int = 0
    rho: float = 0.1
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "random_heads"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        check_fraction(self.rho, "rho", owner=self.name)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`."""
        scores = random_scores(num_layers, pooled.shape[1], self.seed)
        policy = SparseMM(scores, self.budget, rho=self.rho, window=self.window, kernel=self.kernel)
        return policy.keep(pooled, layer=layer, num_layers=num_layers)
