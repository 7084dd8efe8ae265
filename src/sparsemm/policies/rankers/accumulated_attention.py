"""AccumulatedAttention (H2O, arXiv 2306.14048): the attention that a token got from every query of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import before_window, check_settings

_ELEMENTS = {"cuda": 1 << 25, "cpu": 1 << 19}  # attention weights computed at once
_ROWS = 128  # queries at once, at most


@dataclass(frozen=True)
class AccumulatedAttention:
    """A token's value is the sum over all queries of their attention to it, averaged over the query heads of the group.

    Queries are taken in blocks, and each block attends to the keys up to its last query: no T x T weights are held.

    Attributes:
        window: newest prompt tokens, always kept.
        average: divide by the number of queries that see the token (kvpress's ObservedAttention), as early tokens are
            seen by more of them.
    """

    window: int = 32
    average: bool = False
    name: ClassVar[str] = "accumulated_attention"
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
        batch, kv_heads, total, dim = key.shape
        heads = query.shape[1]
        rows = max(1, min(_ROWS, _ELEMENTS.get(key.device.type, 1 << 25) // (batch * heads * total)))
        whole = key.float()
        received = whole.new_zeros(batch, kv_heads, total)
        for begin in range(0, total, rows):
            end = min(begin + rows, total)
            block = query[:, :, begin:end].float() * scaling
            block = block.reshape(batch, kv_heads, -1, dim)  # [B, Hkv, G * r, D]
            logits = (block @ whole[:, :, :end].transpose(-1, -2)).view(batch, kv_heads, -1, end - begin, end)
            future = torch.ones(end - begin, end, dtype=torch.bool, device=key.device).triu_(begin + 1)
            logits.masked_fill_(future, float("-inf"))
            if valid is None:
                weights = logits.softmax(dim=-1)  # [B, Hkv, G, r, end]
            else:
                weights = logits.masked_fill_(~valid[:, None, None, None, :end], float("-inf")).softmax(
                    dim=-1
                )
                weights.masked_fill_(~valid[:, None, None, begin:end, None], 0.0)  # a pad's own query: NaN
            received[..., :end] += weights.mean(dim=2).sum(dim=2)
        if self.average:
            received /= torch.arange(total, 0, -1, device=key.device)
        return before_window(received, self.window, valid)
