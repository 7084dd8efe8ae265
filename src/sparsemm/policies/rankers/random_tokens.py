"""RandomTokens: a random order, the control for the choice of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import before_window, check_settings


@dataclass(frozen=True)
class RandomTokens:
    """A token's value is drawn uniformly from 0 to 1, for each KV head.

    The draw belongs to the distance from the prompt's end, so that a padded row ranks as alone; every layer and every
    prompt gets the same one.

    Attributes:
        seed: of the values.
        window: newest prompt tokens, always kept.
    """

    seed: int = 0
    window: int = 32
    name: ClassVar[str] = "random_tokens"
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
        batch, kv_heads, total, _ = key.shape
        generator = torch.Generator().manual_seed(self.seed)  # on the CPU: every device ranks alike
        drawn = torch.rand(total, kv_heads, generator=generator).flip(0).T.to(key.device)  # [Hkv, T]
        return before_window(drawn.expand(batch, -1, -1), self.window, valid)
