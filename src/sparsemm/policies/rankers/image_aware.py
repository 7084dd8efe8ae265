"""ImageAware (the idea of LOOK-M, arXiv 2406.18139): text tokens first, then image tokens by the window's attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.rankers.base import check_settings
from sparsemm.policies.rankers.window_attention import WindowAttention

_BELOW = 2.0**-40  # exact as a factor; attention is at most 1


@dataclass(frozen=True)
class ImageAware:
    """A token's value is its pooled window attention, which is made smaller than any text token's at image tokens.

    Attributes:
        window: newest prompt tokens, whose queries rank the others.
        kernel: width of the average pooling over key positions, odd.
    """

    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "image_aware"
    sums: ClassVar[bool] = True
    needs_image: ClassVar[bool] = True

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
        """See `Ranker.rank`.

        Raises:
            InputError: without the image tokens.
        """
        if image is None:
            raise InputError(f"{self.name}: the image tokens are not known: give image, bool [B, T]")
        by_attention = WindowAttention(self.window, self.kernel)
        pooled = by_attention.rank(query, key, value, scaling=scaling, valid=valid)
        shown = image[:, None, : pooled.shape[-1]]  # [B, 1, P]
        ranked = torch.where(shown, pooled * _BELOW, pooled.clamp(min=_BELOW))
        return torch.where(pooled > float("-inf"), ranked, pooled)
