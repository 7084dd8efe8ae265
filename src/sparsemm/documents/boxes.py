"""The type of a box on an image, and the checks of boxes and image sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparsemm.errors import InputError

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in px


def check_box(box: Sequence[float], image_size: tuple[int, int], where: str = "box") -> None:
    """Check that a box has area and lies inside its image.

    Args:
        box: x0, y0, x1, y1 in px.
        image_size: height and width in px.
        where: what the message starts with.

    Raises:
        InputError: if it does not.
    """
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
    """The image's height and width in px as integers.

    Raises:
        InputError: if one of them is below 1; the message starts with `where`.
    """
    height, width = (int(v) for v in image_size)
    if height < 1 or width < 1:
        raise InputError(f"{where}: {width} x {height} px has zero area; drop the image")
    return height, width
