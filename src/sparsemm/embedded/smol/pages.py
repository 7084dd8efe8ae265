"""Training pages: rich pages and the earlier plain ones, cut as the models' processors cut them."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from PIL import Image

from sparsemm.documents.pages import READ_PROMPT, Document, generate_document
from sparsemm.documents.rich import generate_rich
from sparsemm.documents.rich.document import RICH_PATCH, RICH_SIZES, RICH_TILE, Question, RichDocument
from sparsemm.embedded.smol.patches import Shares

PLAIN = 0.35  # share of the earlier pages
CHARTS = 0.35  # of those
LARGE = 0.5  # of the batches of the largest pages, which take twice the time of others, this share is kept
READING = 0.5  # share of conversations that begin with reading the page


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


def small(document: RichDocument) -> torch.Tensor:
    """The page as a whole in one tile, as LLaVA-NeXT's processor makes it, [1, 3, RICH_TILE, RICH_TILE]."""
    return pixels(document.image.resize((RICH_TILE, RICH_TILE), Image.Resampling.BICUBIC))[None]


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
