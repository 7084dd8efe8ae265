"""Fewer and larger kernels for a decode step, while a CUDA graph is captured: the graph keeps them, the model does not.

`ways` names the ways that a model's step can be fused; which of them is faster is for the device to say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from transformers import PreTrainedModel

from sparsemm.generation.fusing.layers import fits, fused_layers
from sparsemm.generation.fusing.modules import fused

__all__ = ["Way", "fused", "fused_layers", "ways"]

Way = Callable[[PreTrainedModel], AbstractContextManager[None]]


def ways(model: PreTrainedModel, rows: int) -> list[Way]:
    """The ways to fuse a step of so many rows, the plainest last."""
    return [fused_layers, fused] if rows == 1 and fits(model) else [fused]
