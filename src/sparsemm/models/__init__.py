"""Models: loading, sizes, inputs, the text decoder, head masks."""

from __future__ import annotations

from sparsemm.families.images import ImageLimits
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.image_limits import image_limits, limits_note
from sparsemm.models.loading import (
    Loaded,
    ModelShape,
    build_inputs,
    encode_chats,
    load_model,
    load_processor,
    shape,
)

__all__ = [
    "ImageLimits",
    "Loaded",
    "ModelShape",
    "build_inputs",
    "encode_chats",
    "image_limits",
    "limits_note",
    "load_model",
    "load_processor",
    "mask_heads",
    "shape",
]
