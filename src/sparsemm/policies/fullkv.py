"""No compression: the whole prompt stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.base import check_kernel, past_tokens


@dataclass(frozen=True)
class FullKV:
    """Keeps every token. window and kernel are there so that all policies can be treated alike."""

    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "fullkv"
    budget: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"{self.name}: window is {self.window}: it must be at least 1 token")
        check_kernel(self.name, self.kernel)

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]: all of them."""
        return past_tokens(pooled)
