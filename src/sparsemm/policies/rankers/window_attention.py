"""WindowAttention, the default (SnapKV, arXiv 2404.14469): the attention of the window's queries, pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import check_settings
from sparsemm.policies.selection import pooled_attention


@dataclass(frozen=True)
class WindowAttention:
    """A token's value is what the window's queries attend to it and to its neighbours; see `pooled_attention`.

    Attributes:
        window: newest prompt tokens, whose queries rank the others.
        kernel: width of the average pooling over key positions, odd.
        precision: ``float32``, or ``model``, the dtype of queries and keys with the authors' casts.
    """

    window: int = 32
    kernel: int = 5
    precision: str = "float32"
    name: ClassVar[str] = "window_attention"
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
        """See `Ranker.rank`; in the model's dtype if the precision is ``model``."""
        return pooled_attention(
            query[:, :, -self.window :],
            key,
            window=self.window,
            kernel=self.kernel,
            scaling=scaling,
            valid=valid,
            dtype=key.dtype if self.precision == "model" else None,
        )
