"""What the patches of a page say: for each the one or two characters in it, as dense supervision and as text.

A patch of 8 px is wider than some characters of proportional type, and narrower than others. All characters of a line
are counted to the row of patches at the middle of its capitals, whatever their own height: read row by row, the
patches then spell the lines.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sparsemm.documents.pages import Word
from sparsemm.documents.rich.document import RICH_PATCH as PATCH
from sparsemm.documents.rich.document import RichDocument

SLOTS = (
    2  # characters that a patch may hold; one of a thousand patches with text has three, and loses the last
)
JOINT = "\t"  # no character, but inside a word
SYMBOLS = "".join(map(chr, range(32, 127))) + JOINT  # class 1 + i is SYMBOLS[i], class 0 no character
CLASSES = 1 + len(SYMBOLS)
_RISE = 4.5  # px from the baseline up to the middle of capitals, on a page without any
_HANGING = set("gjpqyQJ,;()[]{}/|$@_\"'*^`~-+=<>")  # characters whose lower end is not the baseline
_CLOSE = 16  # px; a wider gap between words leaves a whole patch blank

Item = tuple[str, float, float]  # a character and its place x, y in px


def _slope(document: RichDocument) -> float:
    """Px that a line of type falls for each px to the right."""
    return -math.tan(math.radians(document.angle))


def _rise(document: RichDocument) -> float:
    """Px from the baseline to the middle of capitals."""
    tall = [g for word in document.words for g in word.glyphs if g.char.isdigit() or g.char.isupper()]
    return statistics.median(g.box[3] - g.box[1] for g in tall) / 2 if tall else _RISE


def _baseline(word: Word, slope: float, rise: float) -> float:
    """The baseline's y at x = 0."""
    standing = [g for g in word.glyphs if g.char not in _HANGING]
    if not standing:
        return (word.box[1] + word.box[3]) / 2 + rise - slope * (word.box[0] + word.box[2]) / 2
    return float(statistics.median(g.box[3] - slope * g.center[0] for g in standing))


def _items(document: RichDocument) -> Iterator[Item]:
    """The place of every character, of every px inside a word, and of a space between words that stand close."""
    slope, rise = _slope(document), _rise(document)
    before: tuple[Word, float] | None = None
    for word in document.words:
        base = _baseline(word, slope, rise)
        centers = [glyph.center[0] for glyph in word.glyphs]
        for column in range(math.ceil(min(centers)), int(max(centers))):
            yield JOINT, column, base + slope * column - rise
        for glyph, x in zip(word.glyphs, centers):
            yield glyph.char, x, base + slope * x - rise
        if before is not None and abs(before[1] - base) < 3 and 0 <= word.box[0] - before[0].box[2] < _CLOSE:
            x = (word.box[0] + before[0].box[2]) / 2
            yield " ", x, base + slope * x - rise
        before = word, base


def patch_texts(document: RichDocument) -> list[list[str]]:
    """The characters of every patch from left to right, [rows][columns]; blank patches are empty."""
    width, height = document.image.size
    rows, columns = height // PATCH, width // PATCH
    found: list[list[list[tuple[float, str]]]] = [[[] for _ in range(columns)] for _ in range(rows)]
    for char, x, y in _items(document):
        row, column = min(max(int(y // PATCH), 0), rows - 1), min(max(int(x // PATCH), 0), columns - 1)
        found[row][column].append((x, char))
    return [[_text(cell) for cell in row] for row in found]


def _text(cell: list[tuple[float, str]]) -> str:
    text = "".join(char for _, char in sorted(cell) if char != JOINT)[:SLOTS]
    if text.strip():
        return text
    return JOINT if cell and not text else ""


def classes(texts: list[list[str]]) -> NDArray[np.int64]:
    """[rows, columns, SLOTS]: the class of every character of every patch."""
    made = np.zeros((len(texts), len(texts[0]), SLOTS), dtype=np.int64)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            for slot, char in enumerate(text):
                made[row, column, slot] = 1 + SYMBOLS.index(char)
    return made
