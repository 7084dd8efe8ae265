"""Training pages: rich pages and the earlier plain ones, placed as the models' processors place them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from sparsemm.documents.boxes import Box
from sparsemm.documents.pages import READ_PROMPT, Document, Glyph, Word, generate_document
from sparsemm.documents.rich import generate_rich
from sparsemm.documents.rich.document import RICH_PATCH, RICH_SIZES, RICH_TILE, Question, RichDocument
from sparsemm.embedded.smol.patches import Shares, shares

PLAIN = 0.25  # share of the earlier pages
CHARTS = 0.35  # of those
LARGE = 0.5  # of the batches of the largest pages, which take twice the time of others, this share is kept
READING = 0.35  # share of conversations that begin with reading the page


@dataclass(frozen=True)
class Placed:
    """A page as a model sees it.

    Attributes:
        document: its image resized and padded, its boxes likewise.
        rows, columns: the patches that are kept, without the padding.
        small: the page as a whole in one tile.
    """

    document: RichDocument
    rows: slice
    columns: slice
    small: Image.Image

    @property
    def grid(self) -> Shares:
        """[rows, columns, HALVES, CLASSES]: what the patches that are kept say."""
        return self.padded[self.rows, self.columns]

    @property
    def padded(self) -> Shares:
        """Likewise with the padding."""
        return shares(self.document)


def as_rich(document: Document) -> RichDocument:
    """A plain page in the form of a rich one."""
    questions = tuple(Question(document.question(line), line.value) for line in document.lines)
    return RichDocument(
        document.image,
        tuple(document.words),
        questions,
        document.transcript,
        document.kind,
        "DejaVu Sans Mono",
    )


def draw(rng: random.Random, *, split: str = "train", fonts: str = "train") -> RichDocument:
    """A training page."""
    if rng.random() < PLAIN:
        kind = "chart" if rng.random() < CHARTS else "page"
        return as_rich(generate_document(rng, split=split, kind=kind))
    return generate_rich(rng, split=split, fonts=fonts)


def draw_alike(seed: str, count: int) -> list[RichDocument]:
    """`count` training pages of the same size, so that a batch needs little padding; large ones less often."""
    rng = random.Random(seed)
    drawn = [draw(rng)]
    while drawn[0].image.size == max(RICH_SIZES, key=math.prod) and rng.random() > LARGE:
        drawn = [draw(rng)]
    while len(drawn) < count:
        page = draw(rng)
        if page.image.size == drawn[0].image.size:
            drawn.append(page)
    return drawn


def turns(document: RichDocument, rng: random.Random, most: int) -> list[tuple[str, str]]:
    """(prompt, answer) turns about a page: sometimes its text first, then up to `most` questions."""
    asked = rng.sample(document.questions, min(most, len(document.questions)))
    read = [(READ_PROMPT, document.transcript)] if rng.random() < READING else []
    return read + [(question.prompt, question.answer) for question in asked]


def placed(document: RichDocument, *, tiled: bool) -> Placed:
    """A page at its own size, or for tiles in the middle of the one of RICH_SIZES that shows most of it."""
    image = document.image
    if not tiled or image.size in RICH_SIZES:
        columns, rows = (side // RICH_PATCH for side in image.size)
        small = image.resize((RICH_TILE, RICH_TILE), Image.Resampling.BICUBIC)
        return Placed(document, slice(0, rows), slice(0, columns), small)
    width, height = image.size
    target = max(RICH_SIZES, key=lambda size: (_shown(image.size, size), -size[0] * size[1]))
    scale = min(target[0] / width, target[1] / height)
    new_width, new_height = round(width * scale), round(height * scale)
    left, top = (target[0] - new_width) // 2, (target[1] - new_height) // 2
    canvas = Image.new("RGB", target)
    canvas.paste(image.resize((new_width, new_height), Image.Resampling.BICUBIC), (left, top))
    words = tuple(_moved(word, scale, left, top) for word in document.words)
    small = image.resize((RICH_TILE, RICH_TILE), Image.Resampling.BICUBIC)
    page = replace(document, image=canvas, words=words)
    return Placed(page, _patches(top, new_height), _patches(left, new_width), small)


def _patches(start: int, extent: int) -> slice:
    return slice(start // RICH_PATCH, (start + extent) // RICH_PATCH)


def _shown(size: tuple[int, int], target: tuple[int, int]) -> int:
    """Px of an image that are shown in a target, not counting enlarged ones."""
    scale = min(target[0] / size[0], target[1] / size[1])
    return min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])


def _moved(word: Word, scale: float, left: int, top: int) -> Word:
    def box(old: Box) -> Box:
        return old[0] * scale + left, old[1] * scale + top, old[2] * scale + left, old[3] * scale + top

    return Word(word.text, box(word.box), tuple(Glyph(g.char, box(g.box)) for g in word.glyphs))


def pixels(image: Image.Image) -> torch.Tensor:
    """float32 [3, height, width] in [-1, 1]."""
    values = np.asarray(image).astype(np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1)


def cut(image: torch.Tensor) -> torch.Tensor:
    """[tiles, 3, RICH_TILE, RICH_TILE] from [3, height, width], row by row."""
    _, height, width = image.shape
    rows, columns = height // RICH_TILE, width // RICH_TILE
    parts = image.reshape(3, rows, RICH_TILE, columns, RICH_TILE).permute(1, 3, 0, 2, 4)
    return parts.reshape(rows * columns, 3, RICH_TILE, RICH_TILE)


def cut_shares(grid: Shares) -> torch.Tensor:
    """[tiles, patches, HALVES, CLASSES] from [rows, columns, HALVES, CLASSES], in the order of `cut`."""
    side = RICH_TILE // RICH_PATCH
    rows, columns, *each = grid.shape
    parts = grid.reshape(rows // side, side, columns // side, side, *each).swapaxes(1, 2)
    return torch.from_numpy(parts.reshape(-1, side * side, *each).copy())
