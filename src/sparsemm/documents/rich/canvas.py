"""A transparent layer that type and shapes are painted on, its rotation, and the page that comes of it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from sparsemm.documents.boxes import Box
from sparsemm.documents.rich.face import Mask
from sparsemm.documents.rich.grounds import Colour, Pixels


class NoRoomError(Exception):
    """Something would be painted beyond the page."""


class Canvas:
    """Premultiplied colour and coverage of what is painted.

    Args:
        size: width, height in px.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = size
        self.pixels: Pixels = np.zeros((self.height, self.width, 4), dtype=np.float32)

    def mask(self, mask: Mask, x: int, y: int, colour: Colour) -> None:
        """Paint `colour` through a mask whose upper left corner is at x, y.

        Raises:
            NoRoomError: the mask does not lie inside.
        """
        if min(x, y) < 0 or x + mask.shape[1] > self.width or y + mask.shape[0] > self.height:
            raise NoRoomError
        part = self.pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
        part *= 1 - mask
        part += mask * np.array((*colour, 1.0), dtype=np.float32)

    def fill(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill a box."""
        x0, y0, x1, y1 = (max(0, round(v)) for v in box)
        self.pixels[y0:y1, x0:x1] = (*colour, 1.0)

    def frame(self, box: tuple[float, float, float, float], colour: Colour, width: int = 1) -> None:
        """Draw a box's outline, inwards from its edges."""
        x0, y0, x1, y1 = box
        self.fill((x0, y0, x1, y0 + width), colour)
        self.fill((x0, y1 - width, x1, y1), colour)
        self.fill((x0, y0, x0 + width, y1), colour)
        self.fill((x1 - width, y0, x1, y1), colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, width: float = 1.5) -> None:
        """Draw a smooth straight line."""
        left, right = int(min(x0, x1) - width - 1), math.ceil(max(x0, x1) + width + 1)
        top, bottom = int(min(y0, y1) - width - 1), math.ceil(max(y0, y1) + width + 1)
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self.width), min(bottom, self.height)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32) + 0.5
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        away = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
        self.mask(np.clip(width / 2 + 0.5 - away, 0, 1)[..., None].astype(np.float32), left, top, colour)

    def dashes(self, x0: int, x1: int, y: int, colour: Colour, period: int) -> None:
        """Draw a dashed horizontal line."""
        for x in range(x0, x1, period):
            self.fill((x, y, min(x + max(1, period // 2), x1), y + 1), colour)

    def rotate(self, degrees: float) -> None:
        """Turn all that is painted about the centre, counter-clockwise."""
        self.pixels[..., 3] *= 255
        four = (self.pixels + np.float32(0.5)).astype(np.uint8)
        # Four plain channels to Pillow: they are premultiplied already.
        image = Image.frombytes("RGBX", (self.width, self.height), four.tobytes())
        self.pixels[...] = np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC))
        self.pixels[..., 3] /= 255

    def over(self, ground: Pixels) -> Pixels:
        """float32 [height, width, 3]: the layer upon a ground, which is changed."""
        ground *= 1 - self.pixels[..., 3:]
        ground += self.pixels[..., :3]
        return ground


def rotated(box: Box, degrees: float, size: tuple[int, int]) -> Box:
    """The bounding box of a box turned about the page's centre, counter-clockwise."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = size[0] / 2, size[1] / 2
    x0, y0, x1, y1 = box
    corners = [(x - cx, y - cy) for x in (x0, x1) for y in (y0, y1)]
    xs = [cx + cos * x + sin * y for x, y in corners]
    ys = [cy - sin * x + cos * y for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)
