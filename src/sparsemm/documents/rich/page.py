"""A page in the making: a cursor that goes down line by line, type that keeps off tile borders, words with boxes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from sparsemm.documents.boxes import Box
from sparsemm.documents.fonts import Font
from sparsemm.documents.pages import Glyph, Word
from sparsemm.documents.rich.canvas import Canvas, rotated
from sparsemm.documents.rich.document import LOW, NARROW, RICH_PATCH, RICH_TILE, Question, off_borders, union
from sparsemm.documents.rich.face import Face, Placed
from sparsemm.documents.rich.grounds import Colour, Palette, add_noise, ground
from sparsemm.documents.rich.source import Source

MARGIN = 3  # px that stay free at every edge of a page that is not turned


@dataclass
class Page:
    """What a kind draws on.

    Attributes:
        size: width, height in px.
        rng: the only source of randomness.
        source: of random texts.
        font: of most of the page.
        other: a second one of its group, for a title.
        palette: the colours.
        angle: degrees that the whole will be turned, counter-clockwise.
    """

    size: tuple[int, int]
    rng: random.Random
    source: Source
    font: Font
    other: Font
    palette: Palette
    angle: float = 0.0
    canvas: Canvas = field(init=False)
    questions: list[Question] = field(default_factory=list)
    y: int = field(init=False)
    _free: int = field(init=False)
    _lines: list[list[Word]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.canvas = Canvas(self.size)
        turn = abs(math.sin(math.radians(self.angle))) / 2
        self.left = MARGIN + math.ceil(turn * self.size[1])
        self.top = self.y = self._free = MARGIN + math.ceil(turn * self.size[0])
        self.right, self.bottom = self.size[0] - self.left, self.size[1] - self.top

    @property
    def tall(self) -> bool:
        """Whether there is room for a title and more between the lines."""
        return self.size[1] > LOW

    @property
    def narrow(self) -> bool:
        """Whether only small type fits."""
        return self.size[0] == NARROW

    @property
    def width(self) -> int:
        """Px between the margins."""
        return self.right - self.left

    def slack(self, face: Face) -> int:
        """Px that a line needs beyond its text, for words that keep off tile borders: the widest glyph at each."""
        return 0 if self.angle else math.ceil(1.4 * face.cap) * ((self.right - 1) // RICH_TILE)

    def face(self, low: float, high: float, font: Font | None = None) -> Face:
        """A face whose capitals are `low` to `high` px high, in steps of half a px."""
        cap = self.rng.randint(round(2 * low), round(2 * high)) / 2
        return Face(font or self.font, cap, self.rng.choice((0.0, 0.25, 0.5, 1.0)))

    def settle(self, top: int, face: Face, height: int | None = None) -> int:
        """Where a row of that height (None: of the face) may begin, from `top` on: on the grid, off tile borders.

        A page that is turned has neither.
        """
        if self.angle:
            return top
        top += to_grid(top, face)
        moved = off_borders(top, height or face.height)
        return moved if moved == top else moved + to_grid(moved, face)

    def lift(self, top: int, face: Face) -> int:
        """Likewise from `top` on upwards."""
        while not self.angle and self.settle(top, face) != top:
            top -= 1
        return top

    def row(self, face: Face, gap: int = 2, pad: int = 0) -> int | None:
        """The top of the next row, or None if the page is full.

        Args:
            face: its type.
            gap: px to the row after it, about.
            pad: px that the row is higher than its type.
        """
        height = face.height + pad
        wish = self.y if self.angle else max(self.y - RICH_PATCH // 2, self._free)
        top = self.settle(wish, face, height)
        if top + height > self.bottom:
            return None
        self._free = top + height
        self.y = self._free + gap
        return top

    def rows(self, face: Face, count: int, gap: int = 2) -> list[int] | None:
        """The tops of the next `count` rows; None, and nothing is taken, if there is no room for all."""
        before = self.y, self._free
        tops = [top for _ in range(count) if (top := self.row(face, gap)) is not None]
        if len(tops) == count:
            return tops
        self.y, self._free = before
        return None

    def skip(self, height: int) -> None:
        """Leave px free below the cursor, whatever the grid."""
        self.y += height
        self._free = self.y

    def fits(self, text: str, face: Face, room: int | None = None) -> bool:
        """Whether a line has room for the text."""
        return face.width(text) + self.slack(face) <= (self.width if room is None else room)

    def write(
        self,
        text: str,
        x: float,
        top: int,
        face: Face,
        *,
        ink: Colour | None = None,
        align: str = "left",
        follow: bool = False,
    ) -> Box:
        """Set one line of type.

        Args:
            text: words, apart by spaces.
            x: where it begins, ends ("right") or has its middle ("centre").
            top: of the row.
            face: the type.
            ink: its colour, in place of the palette's.
            align: "left", "right" or "centre".
            follow: the words go on the line written last, not on a new one.

        Returns:
            The box around the ink.
        """
        baseline = top + face.ascent
        words = text.split()
        if align == "right":
            words.reverse()
        elif align == "centre":
            x -= face.width(text) / 2
        placed: list[list[Placed]] = []
        for word in words:
            if align == "right":
                x -= face.width(word)
            glyphs, shift = face.word(word, x, baseline), 0
            if not self.angle:
                back = align == "right" or (align == "centre" and len(words) == 1 and _mostly_left(glyphs))
                moved = face.word_off_borders(word, x, baseline, back=back)
                glyphs, shift = moved, moved[-1].x - glyphs[-1].x
            placed.append(glyphs)
            x += shift + (-face.space if align == "right" else face.width(word) + face.space)
        if align == "right":
            placed.reverse()
        line = [self._paint(glyphs, ink or self.palette.ink) for glyphs in placed]
        if follow:
            self._lines[-1] += line
        else:
            self._lines.append(line)
        return union([word.box for word in line])

    def _paint(self, placed: list[Placed], ink: Colour) -> Word:
        glyphs = []
        for glyph in placed:
            self.canvas.mask(glyph.mask, glyph.x, glyph.y, ink)
            box = (glyph.x, glyph.y, glyph.right, glyph.y + len(glyph.mask))
            glyphs.append(Glyph(glyph.char, box))
        return Word("".join(g.char for g in placed), union([g.box for g in glyphs]), tuple(glyphs))

    def ask(self, prompts: list[str] | str, answer: str, metric: str = "anls") -> None:
        """Note a question, in one of several wordings."""
        prompt = prompts if isinstance(prompts, str) else self.rng.choice(prompts)
        self.questions.append(Question(prompt, answer, metric))

    def start(self) -> None:
        """Begin at a random height in the upper third of the page."""
        room = self.size[1] // 3 if self.tall else 8
        self.y += self.rng.randrange(1 + room) if self.rng.random() < 0.6 else 0

    @property
    def transcript(self) -> str:
        """Line by line."""
        return "\n".join(" ".join(word.text for word in line) for line in self._lines)

    def words(self) -> tuple[Word, ...]:
        """All words, turned as the page will be."""
        words = [word for line in self._lines for word in line]
        return tuple(self._turned(word) for word in words) if self.angle else tuple(words)

    def _turned(self, word: Word) -> Word:
        glyphs = [Glyph(g.char, rotated(g.box, self.angle, self.size)) for g in word.glyphs]
        return Word(word.text, rotated(word.box, self.angle, self.size), tuple(glyphs))

    def finish(self) -> Image.Image:
        """The image: what was painted, turned, on a ground, with noise."""
        if self.angle:
            self.canvas.rotate(self.angle)
        pixels = self.canvas.over(ground(self.rng, self.size, self.palette))
        return Image.fromarray(np.ascontiguousarray(add_noise(self.rng, pixels)))


def to_grid(top: int, face: Face) -> int:
    """Px that a line of type is moved down so that the middle of its capitals is that of a row of patches."""
    return round(RICH_PATCH / 2 - (top + face.ascent - face.cap / 2)) % RICH_PATCH


def _mostly_left(placed: list[Placed]) -> bool:
    """Whether the vertical tile border that a short word lies on, if any, is in its right half."""
    middle = (placed[0].x + placed[-1].right) / 2
    return middle % RICH_TILE > RICH_TILE / 2
