"""AdaKV (Ada-SnapKV, arXiv 2407.11550): splits a layer's budget over its heads by the attention of each prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.budget.allocation import check_fraction
from sparsemm.budget.formulas import within_prompt
from sparsemm.policies.base import check_policy, past_tokens
from sparsemm.policies.rankers import Ranker


@dataclass(frozen=True)
class AdaKV:
    """Every head gets a minimum; the rest follows the layer's largest pooled values.

    With base = budget - window: a head's values are weighted with (sum of its top `base` values) / (sum of all its
    values). Of the layer's top Hkv * base weighted values, c lie in a head; it keeps
    round((1 - floor) * c + int(floor * base)) tokens beyond the window. Values that may not be summed (a ranker's norms
    of keys, say) are not weighted.

    Attributes:
        budget: tokens per KV head, mean over the layer, window included.
        floor: share of `base` that every head gets, 0 to 1.
        window: newest prompt tokens, always kept.
        kernel: width of the average pooling over key positions, odd.
        ranking: precision in which the tokens are ranked, ``float32`` or ``model`` (the authors' casts).
        ranker: what orders the tokens; None: WindowAttention of this window, kernel and ranking.
    """

    budget: int
    floor: float = 0.2
    window: int = 32
    kernel: int = 5
    ranking: str = "float32"
    ranker: Ranker | None = None
    name: ClassVar[str] = "adakv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel, self.ranking, self.ranker)
        check_fraction(self.floor, "floor", owner=self.name)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """See `Policy.keep`; each row of the batch is treated separately."""
        past, base = past_tokens(pooled), self.budget - self.window
        if base > pooled.shape[-1]:
            return past
        weighted = self._weighted(pooled, base).float()  # [B, Hkv, P]
        size = weighted[0].numel()
        taken = base * weighted.shape[1]
        # Instead of sorting the layer: count the values above the smallest one taken, then ties in the order of heads.
        last = weighted.flatten(1).kthvalue(size - taken + 1, dim=-1).values[:, None, None]
        above, equal = (weighted > last).sum(dim=-1), (weighted == last).sum(dim=-1)
        left = taken - above.sum(dim=-1, keepdim=True) - (equal.cumsum(dim=-1) - equal)
        count = above + torch.minimum(left.clamp(min=0), equal)
        keep = torch.round(count * (1 - self.floor) + int(base * self.floor)).long()
        kept: torch.Tensor = within_prompt(keep, past, base)
        return kept

    def _weighted(self, pooled: torch.Tensor, base: int) -> torch.Tensor:
        """The values that are compared between heads, in the dtype of the ranking, as the authors' code."""
        if self.ranker is not None and not self.ranker.sums:
            return pooled
        mass = pooled.clamp(min=0)  # pads, at -inf, count as 0
        total = mass.sum(dim=-1)
        best = mass.topk(base, dim=-1).values.sum(dim=-1) / total.masked_fill(total == 0, 1)
        return torch.where(pooled > float("-inf"), mass * best[..., None], pooled)
