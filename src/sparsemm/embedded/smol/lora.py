"""LoRA: a low-rank update beside every projection of a text model, trained in its place and added into it later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

RANK, ALPHA = 16, 32
PROJECTIONS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


class LoRA(nn.Module):
    """A frozen linear layer and its update, which is zero at first.

    Args:
        linear: the layer.
        rank: of the update.
        alpha: the update counts alpha / rank.
    """

    def __init__(self, linear: nn.Linear, rank: int = RANK, alpha: int = ALPHA) -> None:
        super().__init__()
        self.linear, self.scale = linear.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output with the update, [..., out]."""
        update: torch.Tensor = F.linear(F.linear(x, self.down * self.scale), self.up)
        return update.add_(self.linear(x))  # in place: half of the time here goes into moving memory


def projections(text: Any) -> Iterator[tuple[str, nn.Module, str]]:
    """Every projection of a text model: its full name, its owner and its name there."""
    for number, layer in enumerate(text.layers):
        for part, names in PROJECTIONS.items():
            for name in names:
                yield f"layers.{number}.{part}.{name}", getattr(layer, part), name


def insert(text: Any, seed: int = 0) -> None:
    """Freeze a text model and put a LoRA in place of each projection."""
    text.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, owner, name in list(projections(text)):
            setattr(owner, name, LoRA(getattr(owner, name)))


def trained(text: Any) -> dict[str, torch.Tensor]:
    """The updates of a text model with LoRA, by the projection's full name with ".down" or ".up"."""
    found: dict[str, torch.Tensor] = {}
    for full, owner, name in projections(text):
        layer = getattr(owner, name)
        found |= {f"{full}.down": layer.down.detach(), f"{full}.up": layer.up.detach()}
    return found


def merge(text: Any, updates: Mapping[str, torch.Tensor]) -> None:
    """Add updates into a plain text model. In float64: the rounded sum is the same on every machine."""
    for full, owner, name in projections(text):
        weight = getattr(owner, name).weight
        down, up = (updates[f"{full}.{part}"].double() for part in ("down", "up"))
        weight.data = (weight.data.double() + up @ down * (ALPHA / down.shape[0])).to(weight.dtype)
