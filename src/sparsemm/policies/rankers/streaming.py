"""Streaming (StreamingLLM, arXiv 2309.17453): the first tokens of the prompt, the attention sinks, then the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import before_window, check_settings, places


@dataclass(frozen=True)
class Streaming:
    """A token's value is its place in the prompt, but the first `sinks` tokens come before all others.

    Attributes:
        window: newest prompt tokens, always kept.
        sinks: first prompt tokens that come before all others.
    """

    window: int = 32
    sinks: int = 4
    name: ClassVar[str] = "streaming"
    sums: ClassVar[bool] = False
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
        total = key.shape[2]
        place = places(key, valid)  # [B, T]
        worth = torch.where(place < self.sinks, total + self.sinks - place, place).float()
        return before_window(worth[:, None].expand(-1, key.shape[1], -1), self.window, valid)
