"""Training batches: documents as grids of characters, as image tiles, and as conversations with targets."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from sparsemm.documents.pages import (
    PAGE_SIZES,
    PAGE_WEIGHTS,
    READ_PROMPT,
    TILE,
    Document,
    generate_document,
)
from sparsemm.documents.words import ALPHABET
from sparsemm.embedded.model import PATCH
from sparsemm.embedded.tokenizer import token_id

BASE_TOKENS = (TILE // PATCH) ** 2
BLANK = 0  # class of a patch without the centre of a glyph; class 1 + i is ALPHABET[i]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        ids: int64 [B, S].
        targets: int64 [B, S], -100 where there is no loss.
        pixels: float32 [B * tiles, 3, 64, 64], or None for text.
        sizes: int64 [B, 2], height and width of the pages in px.
    """

    ids: torch.Tensor
    targets: torch.Tensor
    pixels: torch.Tensor | None
    sizes: torch.Tensor


def glyph_grid(document: Document) -> np.ndarray:
    """int64 [rows, cols]: the class of every high-resolution patch, that of the glyph whose centre it contains."""
    grid = np.zeros((document.image.height // PATCH, document.image.width // PATCH), dtype=np.int64)
    for word in document.words:
        for glyph in word.glyphs:
            x, y = glyph.center
            grid[int(y // PATCH), int(x // PATCH)] = 1 + ALPHABET.index(glyph.char)
    return grid


def tiles(document: Document) -> torch.Tensor:
    """float32 [1 + tiles, 3, 64, 64]: base image and tiles, equal to the processor's (a test compares them)."""
    image = document.image
    base = np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC))[None]
    full = np.asarray(image)
    rows, cols = image.height // TILE, image.width // TILE
    parts = full.reshape(rows, TILE, cols, TILE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, TILE, TILE, 3)
    pixels = np.concatenate([base, parts]).astype(np.float32) / 127.5 - 1.0
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def tile_classes(document: Document) -> torch.Tensor:
    """int64 [1 + tiles, 64]: the glyph class of every patch; the base image (half size) counts as blank."""
    side = TILE // PATCH
    grid = glyph_grid(document)
    rows, cols = grid.shape[0] // side, grid.shape[1] // side
    parts = grid.reshape(rows, side, cols, side).transpose(0, 2, 1, 3).reshape(-1, side * side)
    return torch.from_numpy(np.concatenate([np.zeros((1, side * side), dtype=np.int64), parts]))


def grid_text(document: Document) -> str:
    """The page as text in the layout of its image tokens: a blank base image, then rows that end in newlines."""
    symbols = " " + ALPHABET
    rows = ("".join(symbols[cell] for cell in row) + "\n" for row in glyph_grid(document))
    return " " * BASE_TOKENS + "".join(rows)


def turns(document: Document, rng: random.Random, reading: float) -> list[tuple[str, str]]:
    """(prompt, answer) turns: one that reads the page, with probability `reading`, else up to four single lines."""
    if rng.random() < reading:
        return [(READ_PROMPT, document.transcript)]
    lines = rng.sample(document.lines, min(4, len(document.lines)))
    return [(document.question(line), line.value) for line in lines]


def encode(
    tokenizer: PreTrainedTokenizerFast, page: str, document: Document, rng: random.Random, reading: float
) -> tuple[list[int], list[int]]:
    """Token ids and targets of one conversation; targets are -100 outside the answers.

    Args:
        tokenizer: of the model.
        page: the page as text, or image placeholders.
        document: what the conversation is about.
        rng: chooses the turns.
        reading: share of conversations that read the whole page.
    """
    end = token_id(tokenizer, "</s>")
    start = tokenizer("<s>USER: ")["input_ids"]
    ids = [*start, *tokenizer(page)["input_ids"]]
    if page.startswith("<image>"):
        ids = [*start, *[token_id(tokenizer, "<image>")] * (len(page) // len("<image>"))]
    targets = [-100] * len(ids)
    for index, (prompt, answer) in enumerate(turns(document, rng, reading)):
        opening = ("\n" if index == 0 else "USER: ") + prompt + " ASSISTANT:"
        asked = tokenizer(opening)["input_ids"]
        said = [*tokenizer(answer)["input_ids"], end]
        ids += asked + said
        targets += [-100] * len(asked) + said
    return ids, targets


def draw_documents(seed: str, count: int) -> list[Document]:
    """`count` training documents of the same page size, so that a batch needs no padded image."""
    rng = random.Random(seed)
    wanted = rng.choices(PAGE_SIZES, PAGE_WEIGHTS)[0]
    drawn: list[Document] = []
    while len(drawn) < count:
        kind = "chart" if rng.random() < 0.35 else "page"
        document = generate_document(rng, split="train", kind=kind)
        if document.image.size == wanted:
            drawn.append(document)
    return drawn


def plain_page(document: Document) -> str:
    """The page as lines of plain text."""
    return "".join(f"{line.key} {line.value}\n" for line in document.lines)


def image_page(document: Document) -> str:
    """The page as one image placeholder per image token."""
    rows, cols = document.image.height // PATCH, document.image.width // PATCH
    return "<image>" * (BASE_TOKENS + rows * (cols + 1))


def batches(
    tokenizer: PreTrainedTokenizerFast,
    page: Callable[[Document], str],
    *,
    seed: str,
    size: int,
    reading: float,
    numbers: range,
) -> Iterator[Batch]:
    """Batches by number. Each depends on (seed, number) alone, so that training resumes exactly.

    Args:
        tokenizer: of the model.
        page: how a document becomes text or image placeholders.
        seed: of all batches.
        size: documents in a batch.
        reading: share of conversations that read the whole page.
        numbers: of the batches to make.
    """
    for number in numbers:
        documents = draw_documents(f"{seed}-{number}", size)
        if page is plain_page:  # copying is learnt first on short texts
            documents = [dataclasses.replace(document, lines=document.lines[:4]) for document in documents]
        rng = random.Random(f"{seed}-turns-{number}")
        rows = [encode(tokenizer, page(document), document, rng, reading) for document in documents]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(size, longest, dtype=torch.int64)
        targets = torch.full((size, longest), -100)
        for row, (tokens, wanted) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, : len(wanted)] = torch.tensor(wanted)
        pixels = torch.cat([tiles(d) for d in documents]) if page is image_page else None
        sizes = torch.tensor([[d.image.height, d.image.width] for d in documents])
        yield Batch(ids, targets, pixels, sizes)
