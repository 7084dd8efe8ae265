"""LLaVA-NeXT (1.6), with Llama or Mistral text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsemm.errors import InputError
from sparsemm.families.anyres import AnyresLayout
from sparsemm.families.base import StockFamily, stock
from sparsemm.families.processors import load_with_pil


class LlavaNextLayout(AnyresLayout):
    """The layout of an image in LLaVA-NeXT: base image, then high-res grid with newlines.

    Args:
        source: a LlavaNextConfig or a LlavaNextProcessor.
        image_size: (H, W) of the original image in px.

    Raises:
        InputError: for an image of zero area or a source of another family.
    """

    def __init__(self, source: Any, image_size: Sequence[int]) -> None:
        super().__init__(_geometry(source), image_size)


class LlavaNext(StockFamily):
    """The stock classes; the processor's image part is transformers' PIL class."""

    name = "llava_next"
    model_class = "LlavaNextForConditionalGeneration"
    processor_class = "LlavaNextProcessor"

    def load_processor(self, path: Path) -> Any:
        return load_with_pil(stock(self.processor_class), path)

    def layout(self, source: Any, image_size: Sequence[int]) -> LlavaNextLayout:
        return LlavaNextLayout(source, image_size)


def _geometry(source: Any) -> tuple[int, int, list[list[int]]]:
    """Tile px, patch px and (h, w) resolutions of a LLaVA-NeXT config or processor."""
    if hasattr(source, "vision_config") and hasattr(source, "image_grid_pinpoints"):
        vision = source.vision_config
        return int(vision.image_size), int(vision.patch_size), [list(p) for p in source.image_grid_pinpoints]
    processor = getattr(source, "image_processor", None)
    if processor is None or not hasattr(processor, "image_grid_pinpoints"):
        raise InputError(f"{type(source).__name__}: its layout is not known; give a LLaVA-NeXT processor")
    size = processor.size
    tile = size["shortest_edge"] if "shortest_edge" in dict(size) else size["height"]
    crop = processor.crop_size["height"] if processor.do_center_crop else tile
    if tile != crop:
        raise InputError(f"image_processor: size {tile} and crop_size {crop} differ; make both the tile")
    return int(tile), int(source.patch_size), [list(p) for p in processor.image_grid_pinpoints]
