"""VisualAda: AdaKV's split of the budget by each prompt's attention, with the heads' visual scores as its prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sparsemm.budget.allocation import check_fraction
from sparsemm.budget.formulas import within_prompt
from sparsemm.policies.adakv import AdaKV
from sparsemm.policies.base import check_policy, past_tokens
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.sparsemm import SparseMM


@dataclass(frozen=True, eq=False)  # compared by identity, as SparseMM
class VisualAda:
    """A head keeps round((1 - prior) * a + prior * s): a as AdaKV gives it in this prompt, s as SparseMM does in all.

    This is the mean of a Dirichlet posterior of the heads' shares: s is the prior's mean, a what was seen, and `prior`
    its weight against the prompt.

    Attributes:
        scores: HeadScores, or an array [L, Hkv] or [L, Hq] that sums to 1.
        budget: tokens per KV head, mean over the model, window included.
        prior: how strong the visual scores are: 0 is AdaKV, 1 is SparseMM.
        floor: AdaKV's share of budget - window that every head gets.
        rho: SparseMM's share of budget - window that every head gets.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    scores: Any
    budget: int
    prior: float = 0.5
    floor: float = 0.2
    rho: float = 0.1
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "visual_ada"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        for key in ("prior", "floor", "rho"):
            check_fraction(getattr(self, key), key, owner=self.name)
        seen = AdaKV(self.budget, self.floor, self.window, self.kernel, ranker=self.ranker)
        known = SparseMM(self.scores, self.budget, self.rho, window=self.window, kernel=self.kernel)
        object.__setattr__(self, "_parts", (seen, known))

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`."""
        seen, known = (
            part.keep(pooled, layer=layer, num_layers=num_layers).double() for part in self.__dict__["_parts"]
        )
        mixed = torch.round((1 - self.prior) * seen + self.prior * known).long()
        kept: torch.Tensor = within_prompt(mixed, past_tokens(pooled), self.budget - self.window)
        return kept
