"""Probe pages as text: words stand where they stand on the page, and every step's source is its word."""

from __future__ import annotations

import itertools
import random

import pytest
from PIL import Image

from sparsemm.documents.rich import generate_rich
from sparsemm.heads import generate_probe
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.text_pages import grid, lines_of, text_pages

from helpers import tiny


def rich(index: int) -> tuple[ProbeImage, str]:
    page = generate_rich(random.Random(index), split="probe")
    words, boxes = [word.text for word in page.words], [word.box for word in page.words]
    return ProbeImage(f"{index}", page.image, words, boxes), page.transcript


def test_lines_are_those_of_plain_pages() -> None:
    for item in generate_probe(20, seed=3):
        found = [[item.words[index] for index in line] for line in lines_of(item)]
        assert list(itertools.chain(*found)) == item.words
        for line in lines_of(item):
            boxes = [item.boxes[index] for index in line]
            assert all(a[2] <= b[0] for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize("index", range(12))
def test_every_word_of_a_rich_page_stands_in_its_span_of_the_grid(index: int) -> None:
    item, transcript = rich(index)
    text, spans = grid(item)
    assert [text[start:end] for start, end in spans] == item.words
    assert text.split() == " ".join(item.words).split()
    assert len(text) < 900
    assert " ".join(transcript.split()) == " ".join(item.words)


def test_words_stand_in_the_columns_of_their_boxes() -> None:
    boxes = [(10.0, 0.0, 30.0, 9.0), (90.0, 1.0, 110.0, 10.0), (50.0, 20.0, 90.0, 29.0)]
    item = ProbeImage("a", Image.new("RGB", (200, 40)), ["AB", "CD", "EFGH"], boxes)
    assert grid(item)[0] == "AB      CD\n    EFGH"
    close = [(10.0, 0.0, 30.0, 9.0), (31.0, 1.0, 51.0, 10.0)]
    assert grid(ProbeImage("b", Image.new("RGB", (200, 40)), ["AB", "CD"], close))[0] == "AB CD"


def test_steps_spell_the_words_and_their_sources_are_the_words_on_the_page() -> None:
    processor = tiny.processor()
    decode = processor.tokenizer.decode
    probe = generate_probe(3, seed=1)
    pages = text_pages(processor, probe, "Read it.")
    for item, page in zip(probe, pages):
        assert page.id == item.id
        letters = "".join(item.words).replace(" ", "")
        assert "".join(decode([page.ids[step]]) for step in page.steps) == letters
        told = "".join(decode([page.ids[place]]) for place in page.sources[0])
        assert told == item.words[0]
        text = decode(list(page.ids))
        assert "Read it." in text
        assert text.index("Read it.") > max(page.sources[-1])
        assert all(max(source) < page.steps[0] for source in page.sources)
