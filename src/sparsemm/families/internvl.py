"""InternVL (the `-hf` classes): the image resized to a grid of tiles, then the whole image resized to one tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparsemm.documents.boxes import check_image_size
from sparsemm.errors import InputError
from sparsemm.families.base import StockFamily, stock
from sparsemm.families.layout import Axis, Layout, View
from sparsemm.families.processors import load_images_and_text


class InternVLLayout(Layout):
    """Tiles row by row, n x n tokens each (patches joined by pixel shuffle), then the thumbnail if there are several.

    Args:
        source: an InternVLProcessor.
        image_size: (H, W) of the original image in px.

    Source: ``GotOcr2ImageProcessorPil.crop_image_to_patches``, which stretches the image without keeping its aspect.
    """

    def __init__(self, source: Any, image_size: Sequence[int]) -> None:
        if not hasattr(source, "image_processor"):
            raise InputError(
                f"{type(source).__name__}: does not say how images are cut into tiles; give the processor"
            )
        height, width = check_image_size(image_size)
        images = source.image_processor
        size = dict(images.size)
        tile_h, tile_w = int(size["height"]), int(size["width"])
        side = math.isqrt(int(source.image_seq_length))
        rows, cols = _tiles(source, (height, width), (tile_h, tile_w))
        views: list[View] = []
        for row in range(rows):
            for col in range(cols):
                down = Axis(Fraction(rows * tile_h, height), -row * tile_h, tile_h // side, side)
                across = Axis(Fraction(cols * tile_w, width), -col * tile_w, tile_w // side, side)
                views.append(View(down, across, len(views) * side * side, side, (row * side, col * side)))
        if rows * cols > 1:
            down = Axis(Fraction(tile_h, height), 0, tile_h // side, side)
            across = Axis(Fraction(tile_w, width), 0, tile_w // side, side)
            views.append(View(down, across, len(views) * side * side, side, corner=None))
        super().__init__((height, width), views, len(views) * side * side)


def _tiles(source: Any, image: tuple[int, int], tile: tuple[int, int]) -> tuple[int, int]:
    """(rows, cols) of the grid of tiles that the processor cuts."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

    images = source.image_processor
    defaults = (
        getattr(type(source), "images_kwargs", None) or {}
    )  # of the processor, over its image part's own
    if images.max_patches <= 1 or not defaults.get("crop_to_patches", images.crop_to_patches):
        return 1, 1
    cols, rows = get_optimal_tiled_canvas(image, tile, images.min_patches, images.max_patches)
    return int(rows), int(cols)


class InternVL(StockFamily):
    """The `-hf` checkpoints: InternViT vision, Qwen2 or another text model."""

    name = "internvl"
    model_class = "InternVLForConditionalGeneration"
    processor_class = "InternVLProcessor"

    def load_processor(self, path: Path) -> Any:
        return load_images_and_text(stock(self.processor_class), path)

    def layout(self, source: Any, image_size: Sequence[int]) -> InternVLLayout:
        return InternVLLayout(source, image_size)
