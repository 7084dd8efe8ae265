"""ValueAttention: the window's attention to a token times the norm of its value: how much it adds to the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import check_settings
from sparsemm.policies.rankers.window_attention import WindowAttention


@dataclass(frozen=True)
class ValueAttention:
    """A token's value is its pooled window attention times the Euclidean norm of its value vector.

    Attributes:
        window: newest prompt tokens, whose queries rank the others.
        kernel: width of the average pooling over key positions, odd; the attention is pooled, the norm is not.
    """

    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "value_attention"
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
        by_attention = WindowAttention(self.window, self.kernel)
        pooled = by_attention.rank(query, key, value, scaling=scaling, valid=valid)
        norm = torch.linalg.vector_norm(value[:, :, : pooled.shape[-1]], dim=-1, dtype=torch.float32)
        product = pooled * norm  # a pad with a value of zeros: -inf * 0
        return product if valid is None else torch.where(pooled > float("-inf"), product, pooled)
