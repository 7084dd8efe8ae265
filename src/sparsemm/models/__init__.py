"""Models: loading, sizes, inputs, the text decoder, head masks."""

from __future__ import annotations

from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import Loaded, ModelShape, build_inputs, load_model, load_processor, shape

__all__ = ["Loaded", "ModelShape", "build_inputs", "load_model", "load_processor", "mask_heads", "shape"]
