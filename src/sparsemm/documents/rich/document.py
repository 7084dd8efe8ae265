"""What a richer page is: an image, its words with boxes, the questions that it answers."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from sparsemm.documents.boxes import Box
from sparsemm.documents.pages import TILE, Word

RICH_TILE = TILE  # px, side of a vision-tower input
RICH_PATCH = 8  # px
RICH_SIZES = ((192, 192), (192, 128), (256, 128), (128, 192))  # width, height in px
NARROW, LOW, WIDE = 128, 128, 256  # px, among those widths and heights


@dataclass(frozen=True)
class Question:
    """A question about a page.

    Attributes:
        prompt: what is asked.
        answer: as it stands on the page, or short.
        metric: how an answer is best scored: "anls", or "relaxed" for the numbers and names of charts.
    """

    prompt: str
    answer: str
    metric: str = "anls"


@dataclass(frozen=True)
class RichDocument:
    """A page with its ground truth.

    Attributes:
        image: RGB, of one of RICH_SIZES.
        words: in reading order, each with its box and the box of every glyph.
        questions: what can be asked about the page, two or more.
        transcript: the words of every line, lines apart by newlines, top to bottom.
        kind: one of `KINDS`.
        font: name of the face that most of the page is set in.
        angle: degrees that the page's contents are turned, counter-clockwise; 0.0 for most.
    """

    image: Image.Image
    words: tuple[Word, ...]
    questions: tuple[Question, ...]
    transcript: str
    kind: str
    font: str
    angle: float = 0.0


def off_borders(start: int, extent: int) -> int:
    """`start`, moved forward if [start, start + extent) would cross a tile border."""
    return start if start % RICH_TILE + extent <= RICH_TILE else (start // RICH_TILE + 1) * RICH_TILE


def union(boxes: list[Box]) -> Box:
    """The smallest box around all."""
    left, top, right, bottom = zip(*boxes)
    return min(left), min(top), max(right), max(bottom)
