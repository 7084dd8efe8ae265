"""SparseMM's allocation with scores drawn at random: what sharing gives without knowing the heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.budget.allocation import check_fraction, random_scores
from sparsemm.policies.base import check_policy
from sparsemm.policies.sparsemm import SparseMM


@dataclass(frozen=True)
class RandomHeads:
    """Scores uniform in [0, 1) per KV head, normalised over the model; one seed, one allocation."""

    budget: int
    seed: int = 0
    rho: float = 0.1
    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "random_heads"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel)
        check_fraction(self.rho, "rho", owner=self.name)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]."""
        scores = random_scores(num_layers, pooled.shape[1], self.seed)
        policy = SparseMM(scores, self.budget, rho=self.rho, window=self.window, kernel=self.kernel)
        return policy.keep(pooled, layer=layer, num_layers=num_layers)
