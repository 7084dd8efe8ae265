"""What a scene is, and the sizes and letters that a kind of model can read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from sparsemm.documents.boxes import Box
from sparsemm.documents.pages import PAGE_SIZES, READ_PROMPT, TILE, Word
from sparsemm.documents.rich.document import RICH_SIZES, RICH_TILE
from sparsemm.documents.words import ALPHABET, DIGITS, LETTERS

DESCRIBE_PROMPT = "Describe objects in the picture."
PROMPTS = {"scripts": READ_PROMPT, "wild": READ_PROMPT, "shapes": DESCRIBE_PROMPT}
Span = tuple[int, int]
Slot = tuple[int, int, int, int]  # x0, y0, x1, y1 in px, inside one tile


@dataclass(frozen=True)
class SceneStyle:
    """What a scene may show: pages of a model's tiles, in letters that it was taught.

    Attributes:
        name: by which the configuration knows it.
        sizes: width, height of a scene in px; whole tiles.
        tile: side of a vision tower's input, px. No word crosses a tile's border: the tower sees tiles one by one.
        alphabets: letters of plain words; a word takes one of them.
        scripts: whether words of other scripts stand beside the plain ones.
        caps: lowest and highest upper-case letter, px.
        pitch: least advance of a letter, as a share of the height of an upper-case one; 0 is the face's own.
    """

    name: str
    sizes: tuple[Span, ...]
    tile: int
    alphabets: tuple[str, ...]
    scripts: bool
    caps: Span
    pitch: float

    def slots(self, rng: random.Random, size: Span, rows: Span) -> list[list[Slot]]:
        """Slots for words, line by line in reading order.

        Each row of tiles has `rows[0]` to `rows[1]` lines of them, as far as each can hold the lowest letters.
        """
        width, height = size
        fewest, most = (min(count, self.tile // (self.caps[0] + 12)) for count in rows)
        lines = []
        for top in range(0, height, self.tile):
            count = rng.randint(fewest, most)
            edges = [top + self.tile * i // count for i in range(count + 1)]
            for y0, y1 in pairwise(edges):
                lines.append([(x, y0, x + self.tile, y1) for x in range(0, width, self.tile)])
        return lines


PLAIN = SceneStyle("plain", PAGE_SIZES, TILE, (LETTERS, ALPHABET, DIGITS), False, (8, 10), 0.95)
RICH = SceneStyle(
    "rich",
    RICH_SIZES,
    RICH_TILE,
    (LETTERS, LETTERS.lower(), LETTERS.lower(), DIGITS),
    True,
    (9, 14),
    0.0,
)
STYLES = {style.name: style for style in (PLAIN, RICH)}


@dataclass(frozen=True)
class Scene:
    """A picture with its ground truth.

    Attributes:
        image: RGB.
        lines: words in reading order; each says what stands where. A shape's word is its name, its glyphs are none.
        kind: "scripts", "wild" or "shapes".
    """

    image: Image.Image
    lines: tuple[tuple[Word, ...], ...]
    kind: str

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all lines, in reading order."""
        return tuple(self._words())

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The box of each word."""
        return tuple(word.box for word in self._words())

    @property
    def transcript(self) -> str:
        """The expected answer to `prompt`: words in reading order, a line of them on each line; shapes one a line."""
        between = "\n" if self.kind == "shapes" else " "
        return "\n".join(between.join(word.text for word in line) for line in self.lines)

    @property
    def prompt(self) -> str:
        """What a model is asked about this kind of scene."""
        return PROMPTS[self.kind]

    def _words(self) -> Iterator[Word]:
        return (word for line in self.lines for word in line)
