"""Pixel box -> image tokens -> prompt positions for LLaVA-NeXT, exact at any image size.

LLaVA-NeXT shows an image twice. First the base image: the whole image squashed to one tile, n x n
tokens, row-major, no newline. Then the high-res grid: the image is resized with its aspect kept to the
best of a few resolutions, padded symmetrically, cut into tiles, its features are stitched, the rows or
columns of padding are cropped from the feature grid, and a newline token ends every row.

The processor pads in pixels and rounds up; the model crops in feature rows and rounds down. The two
do not cancel, so the map keeps both offsets, and does its arithmetic in fractions: nothing drifts.
Sources: ``LlavaNextImageProcessorPil.get_image_patches`` and ``LlavaNextModel.pack_image_features``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsemm.errors import InputError

CONVENTIONS = ("released", "all")
Box = Sequence[float]


@dataclass(frozen=True)
class _Axis:
    """One axis of a token grid: ``count`` tokens of ``patch`` px on the image's x * scale + shift."""

    scale: Fraction
    shift: int
    patch: int
    count: int

    def span(self, low: float, high: float) -> range:
        """Tokens whose pixels overlap [low, high) of the image with positive length."""
        first = math.floor((Fraction(low) * self.scale + self.shift) / self.patch)
        last = math.ceil((Fraction(high) * self.scale + self.shift) / self.patch)
        return range(max(first, 0), min(last, self.count))

    def pixels(self, index: int) -> tuple[float, float]:
        """The image pixels [low, high) that token ``index`` sees; outside the image where it sees padding."""
        edges = ((Fraction((index + k) * self.patch - self.shift) / self.scale) for k in (0, 1))
        low, high = edges
        return float(low), float(high)


def check_box(box: Box, image_size: tuple[int, int], where: str = "box") -> None:
    """Raise InputError unless ``box`` (x0, y0, x1, y1 in px) has area and lies inside the (H, W) image."""
    height, width = image_size
    values = [float(v) for v in box]
    shown = "(" + ", ".join(f"{v:g}" for v in values) + ")"
    if len(values) != 4 or not all(math.isfinite(v) for v in values):
        raise InputError(f"{where} {shown}: not four finite numbers x0, y0, x1, y1; mend or drop it")
    x0, y0, x1, y1 = values
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"{where} {shown}: zero area; give x0 < x1 and y0 < y1, or drop it")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise InputError(f"{where} {shown}: outside its {width} x {height} px image; clip or drop it")


def check_image_size(image_size: Sequence[int], where: str = "image") -> tuple[int, int]:
    """The (H, W) as integers, or InputError if the area is zero."""
    height, width = (int(v) for v in image_size)
    if height < 1 or width < 1:
        raise InputError(f"{where}: {width} x {height} px has zero area; drop the image")
    return height, width


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


class LlavaNextLayout:
    """Where each image token of one image looks, and where it stands in the prompt.

    Token indexes count the image tokens of the image, 0 .. num_tokens - 1: ``base_tokens`` of the base
    image, then the high-res grid, row by row, each row ended by a newline token.

    Args:
        source: a LlavaNextConfig or a LlavaNextProcessor.
        image_size: (H, W) of the original image in px.

    Raises:
        InputError: for an image of zero area or a source of another family.
    """

    def __init__(self, source: Any, image_size: Sequence[int]) -> None:
        from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
        from transformers.image_utils import ChannelDimension

        self.image_size = check_image_size(image_size)
        tile, patch, pinpoints = _geometry(source)
        height, width = self.image_size
        side = tile // patch
        best_h, best_w = select_best_resolution((height, width), pinpoints)
        stub = np.broadcast_to(np.uint8(0), (1, height, width))  # carries the shape, holds one byte
        new_h, new_w = get_patch_output_size(stub, (best_h, best_w), ChannelDimension.FIRST)  # type: ignore[no-untyped-call]
        rows, cols = best_h // tile * side, best_w // tile * side
        cut_h, cut_w = _cropped(rows, cols, height, width)
        self._base = (
            _Axis(Fraction(tile, height), 0, patch, side),
            _Axis(Fraction(tile, width), 0, patch, side),
        )
        self._high = (
            _Axis(Fraction(new_h, height), (best_h - new_h) // 2 - cut_h * patch, patch, rows - 2 * cut_h),
            _Axis(Fraction(new_w, width), (best_w - new_w) // 2 - cut_w * patch, patch, cols - 2 * cut_w),
        )

    @property
    def base_grid(self) -> tuple[int, int]:
        """(rows, cols) of the base image's tokens."""
        return self._base[0].count, self._base[1].count

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the high-res grid without its newline tokens."""
        return self._high[0].count, self._high[1].count

    @cached_property
    def base_tokens(self) -> int:
        return math.prod(self.base_grid)

    @cached_property
    def num_tokens(self) -> int:
        """Image tokens in the prompt: base, high-res and newlines."""
        rows, cols = self.grid
        return self.base_tokens + rows * (cols + 1)

    def tokens(self, box: Box, convention: str = "released") -> list[int]:
        """Sorted indexes of the image tokens whose pixels overlap ``box`` with positive area.

        Args:
            box: (x0, y0, x1, y1) in px of the original image.
            convention: ``released`` counts the high-res grid only, ``all`` the base image too.

        A box that lies wholly in a strip that the model crops has no high-res token: the list is empty.
        """
        if convention not in CONVENTIONS:
            raise InputError(f"convention {convention!r} is unknown: use one of {', '.join(CONVENTIONS)}")
        check_box(box, self.image_size)
        x0, y0, x1, y1 = (float(v) for v in box)
        base: list[int] = []
        if convention == "all":
            rows, cols = self._base
            base = [r * cols.count + c for r in rows.span(y0, y1) for c in cols.span(x0, x1)]
        rows, cols = self._high
        step = cols.count + 1  # the newline
        high = [self.base_tokens + r * step + c for r in rows.span(y0, y1) for c in cols.span(x0, x1)]
        return base + high

    def cell(self, token: int) -> tuple[int, int] | None:
        """(row, col) of ``token`` in the high-res grid; None for base and newline tokens."""
        if not 0 <= token < self.num_tokens:
            raise InputError(f"image token {token}: the image has tokens 0 to {self.num_tokens - 1}")
        if token < self.base_tokens:
            return None
        row, col = divmod(token - self.base_tokens, self.grid[1] + 1)
        return None if col == self.grid[1] else (row, col)

    def pixels(self, token: int) -> tuple[float, float, float, float] | None:
        """Image pixels (x0, y0, x1, y1) seen by ``token``, padding included; None for a newline token."""
        cell = self.cell(token)
        axes = self._high
        if cell is None:
            if token >= self.base_tokens:
                return None
            cell, axes = divmod(token, self.base_grid[1]), self._base
        (y0, y1), (x0, x1) = (axis.pixels(index) for axis, index in zip(axes, cell, strict=True))
        return x0, y0, x1, y1

    def grid_values(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """One value per image token [num_tokens] -> the high-res grid [rows, cols]."""
        array = np.asarray(values, dtype=np.float64)
        assert array.shape == (self.num_tokens,), f"{array.shape} is not ({self.num_tokens},)"
        rows, cols = self.grid
        return array[self.base_tokens :].reshape(rows, cols + 1)[:, :cols].copy()

    def positions(self, input_ids: Any, image_token_id: int) -> npt.NDArray[np.int64]:
        """Prompt position of every image token [num_tokens] in one row of ids [T], pads included.

        Raises:
            InputError: if the row does not hold exactly this image's tokens.
        """
        found = np.flatnonzero(np.asarray(input_ids) == image_token_id)
        if len(found) != self.num_tokens:
            height, width = self.image_size
            raise InputError(
                f"prompt: {len(found)} image tokens where a {width} x {height} px image has "
                f"{self.num_tokens}; give one image per prompt, made by the same processor"
            )
        return found


def _cropped(rows: int, cols: int, height: int, width: int) -> tuple[int, int]:
    """Feature rows and columns that ``unpad_image`` cuts from each side of a stitched grid."""
    if width / height > cols / rows:
        return (rows - int(round(height * (cols / width), 7))) // 2, 0
    return 0, (cols - int(round(width * (rows / height), 7))) // 2


def make_layout(source: Any, image_size: Sequence[int]) -> LlavaNextLayout:
    """The layout of an image under a processor or config; InputError for a family without one."""
    return LlavaNextLayout(source, image_size)
