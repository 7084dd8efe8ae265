"""LLaVA-NeXT (1.6), with Llama or Mistral text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.families.anyres import AnyresLayout
from sparsemm.families.base import StockFamily, stock
from sparsemm.families.chat import MISTRAL, VICUNA, with_one_bos
from sparsemm.families.images import ImageLimits, Preparation
from sparsemm.families.processors import load_with_pil

# (rows, cols) of tiles that an image may be cut into: the paper's resolutions, in tiles of 336 px.
_GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))


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

    def configure(self, processor: Any, rules: str | None, text_model: str, limits: ImageLimits) -> None:
        """`paper`: LLaVA's conversations and the paper's resolutions; `current`: the processor's own.

        The chat format is `vicuna_v1` with Llama text and `mistral_instruct` with Mistral text; the latter is also
        what the Mistral checkpoint's own template gives. Other text models keep their template.
        """
        super().configure(processor, rules, text_model, ImageLimits(limits.min_pixels, limits.max_pixels))
        chats = {("paper", "llama"): VICUNA, ("paper", "mistral"): MISTRAL, ("current", "mistral"): MISTRAL}
        pinpoints = limits.pinpoints
        if rules is not None:
            processor.preparation = Preparation()
            if (chat := chats.get((rules, text_model))) is not None:
                processor.chat_template = with_one_bos(chat, processor.tokenizer)
            if rules == "paper" and pinpoints is None:
                pinpoints = self.paper_limits(processor)["pinpoints"]
        if pinpoints is not None:
            tile, _, _ = _geometry(processor)
            for height, width in pinpoints:
                if height % tile or width % tile:
                    raise InputError(
                        f"pinpoints: [{height}, {width}] is not whole tiles of {tile} px; give multiples of {tile}"
                    )
            processor.image_processor.image_grid_pinpoints = [list(each) for each in pinpoints]

    def fit_model(self, model: PreTrainedModel, processor: Any) -> None:
        """The model crops padding by its own copy of the resolutions."""
        pinpoints = processor.image_processor.image_grid_pinpoints
        for config in (model.config, model.model.config):
            config.image_grid_pinpoints = [list(each) for each in pinpoints]

    def image_limits(self, processor: Any) -> dict[str, Any]:
        found = super().image_limits(processor)
        found["pinpoints"] = [list(each) for each in found.pop("image_grid_pinpoints")]
        return found

    def paper_limits(self, processor: Any) -> dict[str, Any]:
        """In tiles of the processor's size, which is 336 px in the paper's checkpoints."""
        tile, _, _ = _geometry(processor)
        return {"pinpoints": [[rows * tile, cols * tile] for rows, cols in _GRIDS]}

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
