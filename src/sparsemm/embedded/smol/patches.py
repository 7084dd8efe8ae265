"""What the patches of a page say, as dense supervision and as text: shares of characters in either half of a patch.

A patch of 8 px is wider than some characters of proportional type, and narrower than others. All characters of a line
are counted to the row of patches at the middle of its capitals, whatever their own height: read row by row, the
patches then spell the lines. No tower knows where a character stands to a fraction of a px: one that stands near the
border of two cells is shared between them, so that what is asked for does not change at a border all at once.
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

HALVES = 2  # of a patch, side by side
JOINT = "\t"  # no character, but inside a word
SYMBOLS = "".join(map(chr, range(32, 127))) + JOINT  # class 1 + i is SYMBOLS[i], class 0 no character
CLASSES = 1 + len(SYMBOLS)
_RISE = 4.5  # px from the baseline up to the middle of capitals, on a page without any
_HANGING = set("gjpqyQJ,;()[]{}/|$@_\"'*^`~-+=<>")  # characters whose lower end is not the baseline
_CLOSE = 16  # px; a wider gap between words leaves a whole patch blank

# Px from a border within which a character is shared: about as well as a tower knows where it stands.
_ACROSS, _DOWN = 1.0, 0.75

Shares = NDArray[np.float32]
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


def shares(document: RichDocument) -> Shares:
    """float32 [rows, columns, HALVES, CLASSES]: what stands in each half of each patch, as shares with sum 1.

    A character is wholly in the half around its centre, or shared with the next half, and the next row, where it stands
    within _ACROSS and _DOWN px of the border between them.
    """
    width, height = document.image.size
    rows, columns = height // PATCH, width // PATCH
    found = np.zeros((rows, columns * HALVES, CLASSES), dtype=np.float32)
    inside = np.zeros((rows, columns * HALVES), dtype=bool)
    for char, x, y in _items(document):
        for row, down in _parts(y, PATCH, _DOWN, rows):
            if char == JOINT:
                inside[row, min(max(int(x // (PATCH / HALVES)), 0), columns * HALVES - 1)] |= down >= 0.5
                continue
            for half, across in _parts(x, PATCH / HALVES, _ACROSS, columns * HALVES):
                found[row, half, 1 + SYMBOLS.index(char)] += down * across
    total = found.sum(-1, keepdims=True)
    found /= np.maximum(total, 1)  # two characters in one half
    rest = 1 - np.minimum(total[..., 0], 1)
    found[..., CLASSES - 1] += np.where(inside, rest, 0)
    found[..., 0] += np.where(inside, 0, rest)
    return found.reshape(rows, columns, HALVES, CLASSES)


def _parts(place: float, size: float, margin: float, count: int) -> list[tuple[int, float]]:
    """The cells, `count` of `size` px, that share what stands at `place`, with their shares."""
    border = round(place / size)
    after = min(max(0.5 + (place - border * size) / (2 * margin), 0.0), 1.0)
    parts = [(border - 1, 1 - after), (border, after)]
    return [(min(max(cell, 0), count - 1), share) for cell, share in parts if share > 0]
