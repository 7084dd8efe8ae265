"""Images of result files in panels: decode, show without axes."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from sparsemm.errors import InputError


def read_picture(data: bytes, where: str, cure: str) -> NDArray[np.uint8]:
    """The RGB image, [H, W, 3], of an encoded one.

    Args:
        data: an encoded image (PNG, JPEG, ...).
        where: what the image is part of, for messages.
        cure: what to do about a damaged image, for messages.

    Raises:
        InputError: if it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(opened.convert("RGB"))
    except OSError as error:
        raise InputError(f"{where}: unreadable image; {cure}") from error


def show_picture(panel: Axes, picture: NDArray[np.uint8]) -> None:
    """Draw the image in a panel, in its pixel coordinates, with a thin frame and without ticks."""
    panel.imshow(picture)
    panel.set(xticks=[], yticks=[])
    panel.grid(False)
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_color("#999999")
        spine.set_linewidth(0.5)
