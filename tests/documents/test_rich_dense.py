"""Pages full of random words: many characters, the same every time, glyphs where their boxes say."""

from __future__ import annotations

import random

import numpy as np

from sparsemm.documents.rich import generate_rich
from sparsemm.documents.rich.dense import SIZE, generate_dense
from sparsemm.embedded.smol.patches import SYMBOLS, shares

from helpers.spelling import spelt


def test_pages_are_full_and_the_same_every_time() -> None:
    pages = [generate_dense(random.Random(seed)) for seed in range(8)]
    again = [generate_dense(random.Random(seed)) for seed in range(8)]
    for page, other in zip(pages, again):
        assert page.image.size == SIZE
        assert page.image.tobytes() == other.image.tobytes()
        assert page.words == other.words
        assert not page.questions
    usual = [generate_rich(random.Random(seed), split="train") for seed in range(30)]
    density = [np.mean([len(p.transcript) / np.prod(p.image.size) for p in each]) for each in (pages, usual)]
    assert density[0] > 2 * density[1]


def test_patches_say_what_the_lines_do() -> None:
    """Read row by row the patches give most words; the others have a character on a border."""
    shown = found = 0
    for seed in range(6):
        page = generate_dense(random.Random(seed))
        assert {c for word in page.words for c in word.text} <= set(SYMBOLS)
        text = "\n".join(spelt(shares(page)))
        found += sum(word.text in text for word in page.words)
        shown += len(page.words)
    assert found > 0.7 * shown
