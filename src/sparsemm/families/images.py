"""Images before the processor: what a rule set does to them, and the limits that a run sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from sparsemm.errors import InputError

CELL = 28  # px a side of an image token in Qwen2-VL; qwen_vl_utils resizes to multiples of it
_MOST_RATIO = 200


@dataclass(frozen=True)
class ImageLimits:
    """What a configuration sets in place of the rule set's or the processor's own; None leaves it.

    Attributes:
        min_pixels: Qwen: least area of an image after the processor's resize. Under the rule set `current` it is also
            the limit of the first resize; under `paper` that one keeps its own (the authors do not pass theirs on).
        max_pixels: the largest area, likewise.
        pinpoints: LLaVA-NeXT: the (height, width) resolutions of the grid of tiles.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    pinpoints: Sequence[Sequence[int]] | None = None


NO_LIMITS = ImageLimits()


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before the processor sees it: RGB, JPEG, a first resize, in this order.

    Attributes:
        jpeg_quality: of a JPEG that the image is saved as and read from; None: it is not.
        first_resize: least and largest area of qwen_vl_utils' resize, which precedes the processor's; None: there is
            none.
    """

    jpeg_quality: int | None = None
    first_resize: tuple[int, int] | None = None

    def apply(self, image: Image.Image) -> Image.Image:
        """The image that the processor gets.

        Raises:
            InputError: for an image that JPEG cannot hold or that the first resize refuses.
        """
        image = image.convert("RGB")
        if self.jpeg_quality is not None:
            image = _through_jpeg(image, self.jpeg_quality)
        if self.first_resize is not None:
            height, width = self.size((image.height, image.width))
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return image

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) px of the image that the processor gets, for an original of (H, W) px."""
        return size if self.first_resize is None else _whole_cells(*size, *self.first_resize)


def preparation_of(processor: Any) -> Preparation | None:
    """How the processor's images are prepared; None where they are handed over as they are."""
    found: Preparation | None = getattr(processor, "preparation", None)
    return found


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    try:
        image.save(buffer, format="JPEG", quality=quality)
    except OSError as error:  # a side above 65,500 px
        raise InputError(
            f"image of {image.width} x {image.height} px: it cannot be saved as JPEG; crop or drop the image"
        ) from error
    return Image.open(buffer).convert("RGB")


def _whole_cells(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """The nearest multiples of CELL with an area within the limits and about the same aspect, as qwen_vl_utils.

    A side below half a cell becomes one cell there; in the processor's own `smart_resize` it becomes none and the
    image is then enlarged.
    """
    if max(height, width) / min(height, width) > _MOST_RATIO:
        raise InputError(
            f"image of {width} x {height} px: the aspect ratio is above {_MOST_RATIO}; crop or drop the image"
        )
    rows, cols = max(1, round(height / CELL)), max(1, round(width / CELL))
    if rows * cols * CELL**2 > most:
        shrink = math.sqrt(height * width / most)
        rows, cols = (max(1, math.floor(side / shrink / CELL)) for side in (height, width))
    elif rows * cols * CELL**2 < least:
        grow = math.sqrt(least / (height * width))
        rows, cols = (math.ceil(side * grow / CELL) for side in (height, width))
    return rows * CELL, cols * CELL
