"""Shared by the Qwen vision-language models: whole-image grids, 2 x 2 merging and M-RoPE positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.documents.boxes import check_image_size
from sparsemm.errors import InputError
from sparsemm.families.base import StockFamily, stock, text_positions
from sparsemm.families.images import ImageLimits, preparation_of
from sparsemm.families.layout import Axis, Layout, View
from sparsemm.families.processors import load_images_and_text


class QwenLayout(Layout):
    """One grid, row by row: the image is resized to whole cells of patch * merge px within the processor's limits.

    A rule set's first resize comes before that. It stretches the image too, so that boxes are scaled by the product.

    Args:
        source: a processor of the family; its image processor has the least and the largest number of pixels.
        image_size: (H, W) of the original image in px.

    Raises:
        InputError: for a config (the limits are the processor's) and for images that the processor refuses.
    """

    def __init__(self, source: Any, image_size: Sequence[int]) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        if not hasattr(source, "image_processor"):
            raise InputError(
                f"{type(source).__name__}: does not say how images are resized; give the processor"
            )
        height, width = size = check_image_size(image_size)
        preparation = preparation_of(source)
        given = size if preparation is None else preparation.size(size)
        images = source.image_processor
        cell = int(images.patch_size) * int(images.merge_size)
        limits = dict(images.size)
        try:
            new_h, new_w = smart_resize(*given, cell, limits["shortest_edge"], limits["longest_edge"])
        except ValueError as error:
            raise InputError(f"image of {width} x {height} px: {error}; crop or drop the image") from error
        rows = Axis(Fraction(new_h, height), 0, cell, new_h // cell)
        cols = Axis(Fraction(new_w, width), 0, cell, new_w // cell)
        super().__init__(size, [View(rows, cols, 0, cols.count)], rows.count * cols.count)


class Qwen(StockFamily):
    """Image tokens have a position in time, height and width (M-RoPE); text continues after the largest of them."""

    def load_processor(self, path: Path) -> Any:
        return load_images_and_text(stock(self.processor_class), path)

    def layout(self, source: Any, image_size: Sequence[int]) -> QwenLayout:
        return QwenLayout(source, image_size)

    def configure(self, processor: Any, rules: str | None, text_model: str, limits: ImageLimits) -> None:
        """The processor's own chat format and images, within the limits."""
        super().configure(processor, rules, text_model, ImageLimits(pinpoints=limits.pinpoints))
        if (limits.min_pixels, limits.max_pixels) != (None, None):
            _set_pixels(processor, limits.min_pixels, limits.max_pixels)

    def image_limits(self, processor: Any) -> dict[str, Any]:
        size, preparation = dict(processor.image_processor.size), preparation_of(processor)
        found: dict[str, Any] = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
        if preparation is not None:
            found |= {key: value for key, value in vars(preparation).items() if value is not None}
        return found

    def prefill_positions(
        self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[4, B, T]: text, time, height and width. The model's `rope_deltas` are neither read nor set.

        Raises:
            InputError: for images without `mm_token_type_ids` (`generate` silently uses text positions then), and for
                a prompt that ends in an image.
        """
        text, count = text_positions(inputs["attention_mask"])
        grids = {name: inputs[name] for name in ("image_grid_thw", "video_grid_thw") if name in inputs}
        if not grids:
            return text.expand(4, -1, -1), count
        kinds = inputs.get("mm_token_type_ids")
        if kinds is None:
            raise InputError("inputs: mm_token_type_ids is missing; give all that the processor returns")
        if bool(kinds[:, -1].any()):
            raise InputError("prompt: it ends in an image; put the question after the image")
        extra = {name: inputs[name] for name in ("second_per_grid_ts",) if name in inputs}
        core: Any = model.model
        seen, _ = core.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=kinds,
            attention_mask=inputs["attention_mask"],
            **grids,
            **extra,
        )
        return torch.cat([text[None], seen]), seen[0, :, -1] + 1

    def decode_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """[3, R, 1]: new tokens are text, at the same position in time, height and width."""
        return positions[None, :, None].expand(3, -1, -1)


def _set_pixels(processor: Any, least: int | None, most: int | None) -> None:
    """Set the least and the largest area of the processor's resize; None leaves one."""
    size = dict(processor.image_processor.size)
    least, most = least or size["shortest_edge"], most or size["longest_edge"]
    if least > most:
        raise InputError(f"min_pixels: {least} is above max_pixels {most}; lower it or raise the other")
    processor.image_processor.size = {"shortest_edge": least, "longest_edge": most}
