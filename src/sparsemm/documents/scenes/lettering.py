"""Words on a plane that is turned, leans and recedes: their ink, and the boxes of their letters.

A word is set flat, at `_FINE` times its size, and mapped into the picture by a 3 x 3 matrix (projective map).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sparsemm.documents.boxes import Box
from sparsemm.documents.fonts import Font
from sparsemm.documents.pages import Glyph, Word

_FINE = 3
Matrix = NDArray[np.float64]
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Lettering:
    """A word set flat; lengths in fine px, the origin at the left end of the baseline.

    Attributes:
        text: the word.
        face: at its fine size.
        origins: x of each letter.
        inks: box of each letter's ink.
    """

    text: str
    face: ImageFont.FreeTypeFont
    origins: tuple[float, ...]
    inks: tuple[Box, ...]

    @property
    def bounds(self) -> Box:
        """The box of all ink."""
        x0, y0, x1, y1 = zip(*self.inks)
        return min(x0), min(y0), max(x1), max(y1)

    def padded(self, margin: float) -> Box:
        """The box of all ink with a margin (px of the picture)."""
        x0, y0, x1, y1 = self.bounds
        wide = margin * _FINE
        return x0 - wide, y0 - wide, x1 + wide, y1 + wide


def set_word(text: str, font: Font, cap: float, pitch: float = 0.0) -> Lettering:
    """Set a word in a face whose upper-case letters are `cap` px high, each at least `pitch * cap` px wide."""
    face = font.at_cap_height(cap * _FINE)
    x = 0.0
    origins, inks = [], []
    for char in text:
        own = face.getlength(char)
        advance = max(own, pitch * cap * _FINE)
        at = x + (advance - own) / 2
        left, top, right, bottom = face.getbbox(char, anchor="ls")
        origins.append(at)
        inks.append((at + left, float(top), at + right, float(bottom)))
        x += advance
    return Lettering(text, face, tuple(origins), tuple(inks))


@dataclass(frozen=True)
class Pose:
    """How a word lies in the picture: turned by `angle` degrees, receding along x and y (share of its size)."""

    angle: float = 0.0
    recede_x: float = 0.0
    recede_y: float = 0.0

    def weaker(self) -> Pose:
        """The same pose at two thirds of its strength."""
        return Pose(self.angle * 2 / 3, self.recede_x * 2 / 3, self.recede_y * 2 / 3)

    def matrix(self, lettering: Lettering, center: tuple[float, float]) -> Matrix:
        """From fine px of a word to px of the picture; the middle of its ink comes to `center`."""
        x0, y0, x1, y1 = lettering.bounds
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        leaning = np.array(
            [
                [1, 0, 0],
                [0, 1, 0],
                [2 * self.recede_x / (x1 - x0) * _FINE, 2 * self.recede_y / (y1 - y0) * _FINE, 1],
            ]
        )
        turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        small = np.diag([1 / _FINE, 1 / _FINE, 1.0])
        placed: Matrix = _move(*center) @ turned @ leaning @ small @ _move(-(x0 + x1) / 2, -(y0 + y1) / 2)
        return placed


def _move(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def box_in(box: Box, matrix: Matrix) -> Box:
    """The upright box around a mapped one."""
    x0, y0, x1, y1 = box
    corners = matrix @ np.array([[x0, x1, x1, x0], [y0, y0, y1, y1], [1, 1, 1, 1]])
    xs, ys = corners[:2] / corners[2]
    return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def word_in(lettering: Lettering, matrix: Matrix) -> Word:
    """The word with the boxes of its letters in the picture."""
    glyphs = tuple(
        Glyph(char, box_in(ink, matrix)) for char, ink in zip(lettering.text, lettering.inks, strict=True)
    )
    x0, y0, x1, y1 = zip(*(glyph.box for glyph in glyphs))
    return Word(lettering.text, (min(x0), min(y0), max(x1), max(y1)), glyphs)


def paint_word(canvas: Image.Image, lettering: Lettering, matrix: Matrix, ink: Color) -> None:
    """Paint the word's ink."""
    x0, y0, x1, y1 = (math.floor(v) for v in lettering.padded(1))
    flat = Image.new("L", (x1 - x0 + 1, y1 - y0 + 1))
    brush = ImageDraw.Draw(flat)
    for char, x in zip(lettering.text, lettering.origins):
        brush.text((x - x0, -y0), char, fill=255, font=lettering.face, anchor="ls")
    _paint(canvas, flat, matrix @ _move(x0, y0), ink)


def paint_board(
    canvas: Image.Image, lettering: Lettering, matrix: Matrix, margin: float, color: Color
) -> None:
    """Paint the board that a word stands on: its ink's box and a margin (px), on the same plane."""
    x0, y0, x1, y1 = lettering.padded(margin)
    board = Image.new("L", (math.ceil(x1 - x0) + 2, math.ceil(y1 - y0) + 2))
    ImageDraw.Draw(board).rectangle((1, 1, board.width - 2, board.height - 2), fill=255)
    _paint(canvas, board, matrix @ _move(x0 - 1, y0 - 1), color)


def _paint(canvas: Image.Image, flat: Image.Image, matrix: Matrix, color: Color) -> None:
    """Paint `color` where the mask `flat`, mapped by `matrix`, is."""
    left, top, right, bottom = box_in((0, 0, flat.width, flat.height), matrix)
    x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
    x1, y1 = min(canvas.width, math.ceil(right)), min(canvas.height, math.ceil(bottom))
    if x1 <= x0 or y1 <= y0:
        return
    back = np.linalg.inv(np.diag([_FINE, _FINE, 1.0]) @ _move(-x0, -y0) @ matrix)
    back /= back[2, 2]
    size = ((x1 - x0) * _FINE, (y1 - y0) * _FINE)
    fine = flat.transform(
        size, Image.Transform.PERSPECTIVE, back.ravel()[:8].tolist(), Image.Resampling.BICUBIC
    )
    canvas.paste(color, (x0, y0), fine.resize((x1 - x0, y1 - y0), Image.Resampling.BOX))
