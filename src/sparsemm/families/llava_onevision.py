"""LLaVA-OneVision: tiles as in LLaVA-NeXT, with large grids downsampled; SigLIP vision, Qwen2 text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsemm.errors import InputError
from sparsemm.families.anyres import AnyresLayout
from sparsemm.families.base import StockFamily, stock
from sparsemm.families.processors import load_images_and_text


class LlavaOnevision(StockFamily):
    """A single image of a prompt is cut into tiles; several images are resized to one tile each."""

    name = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"
    processor_class = "LlavaOnevisionProcessor"

    def load_processor(self, path: Path) -> Any:
        return load_images_and_text(stock(self.processor_class), path)

    def layout(self, source: Any, image_size: Sequence[int]) -> AnyresLayout:
        """From a LlavaOnevisionConfig or a LlavaOnevisionProcessor."""
        most = str(source.vision_aspect_ratio)
        digits = most.removeprefix("anyres_max_")
        if not digits.isdigit():
            raise InputError(f"vision_aspect_ratio: {most!r} is not known; give anyres_max_N")
        return AnyresLayout(_geometry(source), image_size, int(digits))


def _geometry(source: Any) -> tuple[int, int, list[list[int]]]:
    """Tile px, patch px and (h, w) resolutions of a LLaVA-OneVision config or processor."""
    if hasattr(source, "vision_config"):
        vision = source.vision_config
        return int(vision.image_size), int(vision.patch_size), [list(p) for p in source.image_grid_pinpoints]
    images = source.image_processor
    size = dict(images.size)
    tile = int(size.get("height") or size["shortest_edge"])
    side = math.isqrt(int(source.num_image_tokens))
    return tile, tile // side, [list(p) for p in images.image_grid_pinpoints]
