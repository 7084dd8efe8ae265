"""Fewer and larger kernels for a decode step, in force while a CUDA graph is captured: only the graph keeps them.

`fusions` lists how a model's step can be fused; which fusion is fastest is measured on the device (graphs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from transformers import PreTrainedModel

from sparsemm.generation.fusing.layers import can_fuse_layers, fused_layers
from sparsemm.generation.fusing.modules import fused

__all__ = ["Fusion", "fused", "fused_layers", "fusions"]

Fusion = Callable[[PreTrainedModel], AbstractContextManager[None]]


def fusions(model: PreTrainedModel, rows: int) -> list[Fusion]:
    """The fusions that a decode step of `rows` rows can run under, `fused` last."""
    return [fused_layers, fused] if rows == 1 and can_fuse_layers(model) else [fused]
