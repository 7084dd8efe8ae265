"""LastQuery (TOVA, arXiv 2401.06104): the attention of the last prompt token, averaged over all heads of the layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import check_settings
from sparsemm.policies.selection import pooled_attention


@dataclass(frozen=True)
class LastQuery:
    """A token's value is what the last query attends to it, the mean of all query heads: equal in every KV head.

    Attributes:
        window: newest prompt tokens, always kept.
    """

    window: int = 32
    name: ClassVar[str] = "last_query"
    sums: ClassVar[bool] = True
    needs_image: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    def rank(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        valid: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Ranker.rank`."""
        batch, kv_heads, total, _ = key.shape
        attention = pooled_attention(query[:, :, -1:], key, window=1, kernel=1, scaling=scaling, valid=valid)
        mean = attention.mean(dim=1, keepdim=True)[..., : max(total - self.window, 0)]  # pads stay at -inf
        return mean.expand(batch, kv_heads, -1)
