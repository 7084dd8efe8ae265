"""AdaKV (Ada-SnapKV, arXiv 2407.11550): a layer's budget is shared by this sample's attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.budget.allocation import check_fraction
from sparsemm.policies.base import check_policy, past_tokens


@dataclass(frozen=True)
class AdaKV:
    """Every head gets a floor; the rest goes where the layer's largest pooled values are.

    base = B - w; a head's values are weighted with (sum of its top base) / (sum of all); c(h) of the layer's
    top Hkv * base entries lie in head h; k = round((1 - floor) * c(h) + int(floor * base)).
    """

    budget: int
    floor: float = 0.2
    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "adakv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel)
        check_fraction(self.floor, "floor", owner=self.name)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv], for each row of the batch by itself."""
        past, base = past_tokens(pooled), self.budget - self.window
        if base > pooled.shape[-1]:
            return past
        mass = pooled.clamp(min=0)  # pads, at -inf, weigh nothing
        best = mass.topk(base, dim=-1).values.sum(dim=-1) / mass.sum(dim=-1).clamp(min=1e-38)
        weighted = torch.where(pooled > float("-inf"), mass * best[..., None], pooled)  # [B, Hkv, P]
        size = weighted[0].numel()
        taken = base * weighted.shape[1]
        # Count per head instead of sorting the layer: all above the smallest taken value, then ties by head.
        last = weighted.flatten(1).kthvalue(size - taken + 1, dim=-1).values[:, None, None]
        above, equal = (weighted > last).sum(dim=-1), (weighted == last).sum(dim=-1)
        left = taken - above.sum(dim=-1, keepdim=True) - (equal.cumsum(dim=-1) - equal)
        count = above + torch.minimum(left.clamp(min=0), equal)
        keep = torch.round(count * (1 - self.floor) + int(base * self.floor)).long()
        return torch.where(past < base, past, torch.minimum(keep, past))
