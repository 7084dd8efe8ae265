"""A face at a size: masks of its glyphs, and words set in proportional type."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsemm.documents.fonts import Font
from sparsemm.documents.rich.document import RICH_TILE

_TALLEST = "#$()/5JQbgijqy,"  # those of CHARACTERS that reach highest or lowest in some face
Mask = NDArray[np.float32]  # [height, width, 1], coverage in 0 to 1, cropped to the ink


class Glyph(NamedTuple):
    """A glyph as it is drawn: its ink, left and top of that from the origin on the baseline, its advance."""

    mask: Mask
    left: int
    top: int
    advance: float


class Placed(NamedTuple):
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

    @functools.cached_property
    def _glyphs(self) -> _Glyphs:
        return _glyphs(self.font, self.cap)

    @property
    def ascent(self) -> int:
        """Px above the baseline that some glyph reaches."""
        return self._glyphs.extent[0]

    @property
    def descent(self) -> int:
        """Px below the baseline that some glyph reaches."""
        return self._glyphs.extent[1]

    @property
    def height(self) -> int:
        """Px of a line."""
        return self.ascent + self.descent

    @property
    def space(self) -> float:
        """Px between words."""
        return max(4.0, self._glyphs[" "].advance) + self.tracking

    def width(self, text: str) -> int:
        """Px that words take on one line, no tile border considered."""
        words = text.split()
        glyphs, tracking = self._glyphs, self.tracking
        inked = sum(math.ceil(sum([glyphs[char].advance + tracking for char in word])) for word in words)
        return math.ceil(inked + (len(words) - 1) * self.space)

    def word(self, text: str, x: float, baseline: int) -> list[Placed]:
        """The glyphs of one word that begins at `x`."""
        placed, glyphs = [], self._glyphs
        for char in text:
            mask, left, top, advance = glyphs[char]
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


class _Glyphs(dict[str, "Glyph"]):
    """The glyphs of a face at a size, drawn when they are first asked for."""

    def __init__(self, font: Font, cap: float) -> None:
        super().__init__()
        self._face = font.at_cap_height(cap)

    def __missing__(self, char: str) -> Glyph:
        core, (left, top) = self._face.getmask2(char, "L", anchor="ls")
        ink = np.frombuffer(bytes(core), dtype=np.uint8).reshape(core.size[::-1])
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        if len(rows):
            ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            left, top = left + int(columns[0]), top + int(rows[0])
        mask = ink[..., None].astype(np.float32) / 255
        self[char] = Glyph(mask, int(left), int(top), float(self._face.getlength(char)))
        return self[char]

    @functools.cached_property
    def extent(self) -> tuple[int, int]:
        """Px that glyphs reach above and below the baseline."""
        drawn = [self[char] for char in _TALLEST]
        return -min(glyph.top for glyph in drawn), max(glyph.top + len(glyph.mask) for glyph in drawn)


_glyphs = functools.cache(_Glyphs)


def wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The lines of `text`, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
