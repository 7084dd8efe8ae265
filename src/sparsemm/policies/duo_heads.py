"""DuoHeads (the split of DuoAttention, arXiv 2410.10819): some heads keep everything, the others sinks and window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from sparsemm.budget.allocation import check_fraction, group_scores
from sparsemm.errors import InputError
from sparsemm.policies.base import check_policy, check_scored_layers, past_tokens, score_values
from sparsemm.policies.rankers import Ranker, Streaming


@dataclass(frozen=True, eq=False)  # compared by identity, as SparseMM
class DuoHeads:
    """The KV heads with the highest scores keep the whole prompt, all others `sinks` tokens beyond the window.

    Attributes:
        scores: HeadScores, or an array [L, Hkv] or [L, Hq] that sums to 1.
        budget: tokens per KV head, mean over the model, window included; it pays for as many whole heads as fit a
            prompt.
        share: of the KV heads that keep everything, whatever the budget; None: as many as the budget pays for.
        sinks: tokens beyond the window in the other heads.
        window: newest prompt tokens, always kept.
        kernel: width of the pooling of a ranker that pools, odd.
        ranking: without effect, a part of the policy protocol.
        ranker: what orders the tokens; None: Streaming, so that the others keep the first tokens of the prompt.
    """

    scores: Any
    budget: int
    share: float | None = None
    sinks: int = 4
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "duo_heads"
    by_length: ClassVar[bool] = True  # what it keeps follows the prompt's length: there is no plan

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        if self.sinks < 0:
            raise InputError(f"{self.name}: sinks is {self.sinks}: it must be at least 0 tokens")
        if self.share is not None:
            check_fraction(self.share, "share", owner=self.name)
        object.__setattr__(self, "_values", score_values(self.name, self.scores))

    def default_ranker(self) -> Ranker:
        """Streaming with these sinks."""
        return Streaming(self.window, self.sinks)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`.

        Raises:
            InputError: if the scores have another number of layers than the model, or heads that do not group into its
                KV heads.
        """
        values = self.__dict__["_values"]
        check_scored_layers(self.name, values, num_layers)
        scores = group_scores(values, pooled.shape[1])
        order = np.argsort(-scores, axis=None, kind="stable")  # ties: the first layer and head
        rank = np.empty(scores.size, dtype=np.int64)
        rank[order] = np.arange(scores.size)
        own = torch.from_numpy(rank.reshape(scores.shape)[layer]).to(pooled.device)
        past, base = past_tokens(pooled), self.budget - self.window
        if self.share is None:  # whole * (past - sinks) <= heads * (base - sinks)
            spare = scores.size * max(base - self.sinks, 0)
            whole = spare // (past - self.sinks).clamp(min=1)
        else:
            whole = torch.full_like(past, round(self.share * scores.size))
        kept = torch.where((own < whole) | (past <= base), past, past.clamp(max=min(self.sinks, base)))
        return kept
