"""PyramidKV (arXiv 2406.02069): more tokens for early layers, every head of a layer alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.errors import InputError
from sparsemm.policies.base import check_policy, past_tokens


@dataclass(frozen=True)
class PyramidKV:
    """A straight line over the layers from max to min, whose mean is budget - window.

    base = B - w; min = base // beta; max = 2 * base - min; where max >= T - w: max = T - w, min = 2 * base -
    max; step = (max - min) // (L - 1); layer l keeps max - l * step.
    """

    budget: int
    beta: int = 20
    window: int = 32
    kernel: int = 5
    name: ClassVar[str] = "pyramidkv"

    def __post_init__(self) -> None:
        check_policy(self.name, self.budget, self.window, self.kernel)
        if self.beta < 1:
            raise InputError(f"{self.name}: beta is {self.beta}: it must be at least 1")

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """int64 [B, Hkv]."""
        past = past_tokens(pooled)
        base = self.budget - self.window
        if num_layers == 1:  # a line over one layer has no slope: all of the budget
            return past.clamp(max=base)
        top = past.clamp(max=2 * base - base // self.beta)  # in both cases min = 2 * base - max
        step = (2 * top - 2 * base) // (num_layers - 1)
        return torch.minimum((top - layer * step).clamp(min=0), past)
