"""SparseMM (arXiv 2506.05344): splits the model's budget over its KV heads by their visual scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from sparsemm.budget.allocation import allocate, check_fraction, group_scores
from sparsemm.budget.formulas import within_prompt
from sparsemm.policies.base import check_policy, check_scored_layers, past_tokens, score_values
from sparsemm.policies.rankers import Ranker


@dataclass(frozen=True, eq=False)  # compared by identity: the comparison of arrays is no single truth value
class SparseMM:
    """A head with score s keeps round(s * remain + r) tokens beyond the window; see `sparsemm.allocate`.

    Attributes:
        scores: HeadScores, or an array [L, Hkv] or [L, Hq] that sums to 1. Query heads are summed over their GQA group.
        budget: tokens per KV head, mean over the model, window included.
        rho: share of budget - window that every head gets, 0 to 1.
        waterfill: give what exceeds the prompt in one head to the others. The released recipe (False) loses it.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    scores: Any
    budget: int
    rho: float = 0.1
    waterfill: bool = False
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "sparsemm"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        check_fraction(self.rho, "rho", owner=self.name)
        object.__setattr__(self, "_values", score_values(self.name, self.scores))

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`; a prompt with fewer tokens than the budget is not compressed.

        Raises:
            InputError: if the scores have another number of layers than the model, or heads that do not group into its
                KV heads.
        """
        past = past_tokens(pooled)
        base = self.budget - self.window
        if self.waterfill:
            lengths = past[:, 0].tolist()
            wanted = torch.stack([self._shares(past.shape[1], num_layers, n)[layer] for n in lengths])
        else:
            wanted = self._shares(past.shape[1], num_layers, None)[layer][None]
        kept: torch.Tensor = within_prompt(wanted.to(past.device), past, base)
        return kept

    def _shares(self, num_kv_heads: int, num_layers: int, past: int | None) -> torch.Tensor:
        """The allocation, int64 [L, Hkv]. past: prompt tokens before the window, None for the released recipe."""
        values: np.ndarray[Any, np.dtype[np.float64]] = self.__dict__["_values"]
        check_scored_layers(self.name, values, num_layers)
        scores = group_scores(values, num_kv_heads)
        prompt = None if past is None else past + self.window
        return _allocate_once(scores.tobytes(), scores.shape, self.budget, self.window, self.rho, prompt)


@lru_cache(maxsize=256)
def _allocate_once(
    scores: bytes, shape: tuple[int, ...], budget: int, window: int, rho: float, prompt_tokens: int | None
) -> torch.Tensor:
    """`allocate`, cached: a prefill asks for the same allocation in every layer."""
    table = np.frombuffer(scores, dtype=np.float64).reshape(shape)
    return allocate(table, budget, window=window, rho=rho, prompt_tokens=prompt_tokens)
