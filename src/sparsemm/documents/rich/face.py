"""A face at a size: masks of its glyphs, and words set in proportional type."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sparsemm.documents.fonts import CHARACTERS, Font
from sparsemm.documents.rich.document import RICH_TILE

Mask = NDArray[np.float32]  # [height, width, 1], coverage in 0 to 1, cropped to the ink


@dataclass(frozen=True)
class Placed:
    """A glyph in its place: the upper left corner of its ink in px."""

    char: str
    mask: Mask
    x: int
    y: int

    @property
    def right(self) -> int:
        """The first column to the right of the ink."""
        return self.x + self.mask.shape[1]


@dataclass(frozen=True)
class Face:
    """A face at a size.

    Attributes:
        font: the face.
        cap: height of an upper-case letter in px.
        tracking: px added after every glyph.
    """

    font: Font
    cap: float
    tracking: float = 0.0

    @property
    def ascent(self) -> int:
        """Px above the baseline that some glyph reaches."""
        return _extent(self.font, self.cap)[0]

    @property
    def descent(self) -> int:
        """Px below the baseline that some glyph reaches."""
        return _extent(self.font, self.cap)[1]

    @property
    def height(self) -> int:
        """Px of a line."""
        return self.ascent + self.descent

    @property
    def space(self) -> float:
        """Px between words."""
        return max(4.0, _glyph(self.font, self.cap, " ")[3]) + self.tracking

    def width(self, text: str) -> int:
        """Px that words take on one line, no tile border considered."""
        words = text.split()
        inked = sum(
            math.ceil(sum(_glyph(self.font, self.cap, c)[3] + self.tracking for c in w)) for w in words
        )
        return math.ceil(inked + (len(words) - 1) * self.space)

    def word(self, text: str, x: float, baseline: int) -> list[Placed]:
        """The glyphs of one word that begins at `x`."""
        placed = []
        for char in text:
            mask, left, top, advance = _glyph(self.font, self.cap, char)
            placed.append(Placed(char, mask, round(x) + left, baseline + top))
            x += advance + self.tracking
        return placed

    def word_off_borders(self, text: str, x: float, baseline: int, *, back: bool = False) -> list[Placed]:
        """Likewise, moved as a whole to the right (left if `back`) by about a glyph at most: no border cuts a glyph."""
        for _ in range(8):
            placed = self.word(text, x, baseline)
            cut = next((glyph for glyph in placed if _border(glyph) is not None), None)
            if cut is None:
                return placed
            border = _border(cut)
            assert border is not None
            x = round(x) + border - (cut.right if back else cut.x)
        return _pushed(self.word(text, x, baseline))


def _border(glyph: Placed) -> int | None:
    """The vertical tile border that cuts the glyph."""
    border = ((glyph.right - 1) // RICH_TILE) * RICH_TILE
    return border if glyph.x < border else None


def _pushed(placed: list[Placed]) -> list[Placed]:
    """Every glyph from the first that a border cuts on moved to the right: a gap within a word, the last resort."""
    moved, shift = [], 0
    for glyph in placed:
        glyph = Placed(glyph.char, glyph.mask, glyph.x + shift, glyph.y)
        border = _border(glyph)
        if border is not None:
            shift += border - glyph.x
            glyph = Placed(glyph.char, glyph.mask, border, glyph.y)
        moved.append(glyph)
    return moved


@functools.cache
def _glyph(font: Font, cap: float, char: str) -> tuple[Mask, int, int, float]:
    """Mask, its left and top from the origin on the baseline, advance."""
    face = font.at_cap_height(cap)
    advance = float(face.getlength(char))
    side = int(4 * cap) + 8
    image = Image.new("L", (side, side), 0)
    origin = side // 3, 2 * side // 3
    ImageDraw.Draw(image).text(origin, char, fill=255, font=face, anchor="ls")
    box = image.getbbox()
    if box is None:
        return np.zeros((0, 0, 1), np.float32), 0, 0, advance
    mask = np.asarray(image.crop(box), dtype=np.float32)[..., None] / 255
    return mask, box[0] - origin[0], box[1] - origin[1], advance


@functools.cache
def _extent(font: Font, cap: float) -> tuple[int, int]:
    """Px above and below the baseline."""
    glyphs = [_glyph(font, cap, char) for char in CHARACTERS]
    return -min(top for _, _, top, _ in glyphs), max(top + len(mask) for mask, _, top, _ in glyphs)


def wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The lines of `text`, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
