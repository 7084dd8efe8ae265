"""SparseMM (arXiv 2506.05344): the model's budget is shared among its heads by their visual scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

from sparsemm.budget.allocation import allocate, as_scores, check_fraction, group_scores
from sparsemm.errors import InputError
from sparsemm.policies.base import check_policy, past_tokens


@dataclass(frozen=True, eq=False)  # identity, as arrays do not compare to one truth value
class SparseMM:
    """k(l, h) = round(s(l, h) * remain + r), see `sparsemm.allocate`.

    scores: HeadScores, or an array [L, Hkv] or [L, Hq] that sums to 1 (query heads are summed over their
    group).
    waterfill: give what a head cannot use of its share (it exceeds the prompt) to the others; the released
    recipe loses it.
    """

    scores: Any
    budget: int
    rho: float = 0.1
    waterfill: bool = False
    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "sparsemm"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel)
        check_fraction(self.rho, "rho", owner=self.name)
        values = self.scores.values if hasattr(self.scores, "per_kv_head") else self.scores
        object.__setattr__(self, "_values", as_scores(values, owner=f"{self.name}: scores"))

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]; a layer with fewer tokens than the budget asks for is not compressed."""
        past = past_tokens(pooled)
        base = self.budget - self.window
        if self.waterfill:
            lengths = past[:, 0].tolist()
            wanted = torch.stack([self._shares(past.shape[1], num_layers, n)[layer] for n in lengths])
        else:
            wanted = self._shares(past.shape[1], num_layers, None)[layer][None]
        return torch.where(past < base, past, torch.minimum(wanted.to(past.device), past))

    def _shares(self, num_kv_heads: int, num_layers: int, past: int | None) -> torch.Tensor:
        values: np.ndarray[Any, np.dtype[np.float64]] = self.__dict__["_values"]
        if len(values) != num_layers:
            raise InputError(
                f"{self.name}: scores of {len(values)} layers, model of {num_layers}: use this model's scores"
            )
        scores = group_scores(values, num_kv_heads)
        prompt = None if past is None else past + self.window
        return _allocate_once(scores.tobytes(), scores.shape, self.budget, self.window, self.rho, prompt)


@lru_cache(maxsize=256)
def _allocate_once(
    scores: bytes, shape: tuple[int, ...], budget: int, window: int, rho: float, prompt_tokens: int | None
) -> torch.Tensor:
    """The allocation of the whole model, made once for all its layers."""
    table = np.frombuffer(scores, dtype=np.float64).reshape(shape)
    return allocate(table, budget, window=window, rho=rho, prompt_tokens=prompt_tokens)
