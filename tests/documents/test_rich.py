"""Richer pages: deterministic, words and glyphs where they are said to be, questions that the page answers."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm.documents.boxes import check_box
from sparsemm.documents.fonts import CHARACTERS, fonts
from sparsemm.documents.rich import KINDS, RICH_SIZES, RICH_TILE, RichDocument, generate_rich
from sparsemm.documents.words import SPLITS, split_of

EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def draw(kind: str, seed: int, split: str = "train", group: str = "train") -> RichDocument:
    return generate_rich(random.Random(f"{kind}/{seed}"), split=split, fonts=group, kind=kind)


def flat(text: str) -> str:
    return " ".join(text.lower().split())


@EACH_KIND
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), split=st.sampled_from(SPLITS), group=st.sampled_from(["train", "held-out"])
)
def test_a_page_is_what_it_says(kind: str, seed: int, split: str, group: str) -> None:
    document = draw(kind, seed, split, group)
    width, height = document.image.size
    assert document.image.mode == "RGB"
    assert (width, height) in RICH_SIZES
    assert document.kind == kind
    assert document.font in {font.name for font in fonts(group)}
    assert " ".join(word.text for word in document.words) == " ".join(document.transcript.split())
    for word in document.words:
        check_box(word.box, (height, width))
        assert word.text == "".join(glyph.char for glyph in word.glyphs)
        assert set(word.text) <= set(CHARACTERS)
        for glyph in word.glyphs:
            check_box(glyph.box, (height, width))
            assert _inside(glyph.box, word.box)


@EACH_KIND
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_stands_straight_keeps_off_tile_borders_and_other_words(kind: str, seed: int) -> None:
    document = draw(kind, seed)
    if document.angle:
        return
    for word in document.words:
        assert word.box[1] // RICH_TILE == (word.box[3] - 1) // RICH_TILE
        for glyph in word.glyphs:
            assert glyph.box[0] // RICH_TILE == (glyph.box[2] - 1) // RICH_TILE
    for number, word in enumerate(document.words):
        assert not any(_touching(word.box, other.box) for other in document.words[:number])


@EACH_KIND
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), split=st.sampled_from(SPLITS))
def test_every_question_is_asked_once_and_answered_on_the_page(kind: str, seed: int, split: str) -> None:
    document = draw(kind, seed, split)
    prompts = [question.prompt for question in document.questions]
    assert len(prompts) >= 2
    assert len(set(prompts)) == len(prompts)
    for question in document.questions:
        assert flat(question.answer) in flat(document.transcript)
        assert question.metric == ("relaxed" if kind == "chart" else "anls")
        assert len(question.prompt) < 80


@EACH_KIND
def test_a_page_depends_on_its_generator_alone(kind: str) -> None:
    first = [draw(kind, seed) for seed in range(4)]
    for seed in reversed(range(4)):
        again = draw(kind, seed)
        assert np.array_equal(np.asarray(again.image), np.asarray(first[seed].image))
        assert (again.words, again.questions) == (first[seed].words, first[seed].questions)


@pytest.mark.parametrize("number", [5521, 5815])
def test_a_page_whose_words_do_not_find_room_is_drawn_again(number: int) -> None:
    page = generate_rich(random.Random(f"scan{number}-held-out-eval"), split="eval", fonts="held-out")
    assert all(word.box[2] <= page.image.width for word in page.words)
    assert len(page.questions) >= 2


def test_some_pages_of_every_kind_are_turned_and_all_sizes_occur() -> None:
    drawn = [generate_rich(random.Random(seed), split="eval") for seed in range(150)]
    assert {document.kind for document in drawn} == set(KINDS)
    assert {document.kind for document in drawn if document.angle} >= set(KINDS) - {"chart"}
    assert {document.image.size for document in drawn} == set(RICH_SIZES)
    assert len({document.font for document in drawn}) > 12
    assert 0.1 < np.mean([document.angle != 0 for document in drawn]) < 0.5


def test_splits_share_no_sentence_and_no_code() -> None:
    for split in SPLITS:
        for seed in range(12):
            form = draw("form", seed, split)
            codes = [q.answer for q in form.questions if re.fullmatch(r"[A-Z0-9-]{5,7}", q.answer)]
            assert all(split_of(code) == split for code in codes)
            text = draw("text", seed, split).transcript.replace("\n", " ")
            for sentence in re.findall(r"\S.*?[a-z0-9][.!](?=\s[A-Z0-9]|$)", text):
                assert split_of(sentence) == split


def test_the_sum_of_a_receipt_is_right() -> None:
    found = 0
    for seed in range(25):
        ends = [line.rsplit(" ", 1) for line in draw("receipt", seed).transcript.split("\n") if " " in line]
        names = [name.lower().strip(":") for name, _ in ends]
        place = next((i for i, name in enumerate(names) if name in ("total", "sum")), None)
        if place is not None:
            amounts = [round(100 * float(end)) for _, end in ends[:place] if re.fullmatch(r"\d+\.\d\d", end)]
            assert sum(amounts) == round(100 * float(ends[place][1]))
            found += 1
    assert found > 15


def test_the_highest_of_a_chart_is_the_highest() -> None:
    for seed in range(40):
        asked = {question.prompt: question.answer for question in draw("chart", seed).questions}
        highest, lowest = (
            int(asked.pop("What is the highest value?")),
            int(asked.pop("What is the lowest value?")),
        )
        values = [int(answer) for answer in asked.values() if answer.isdigit()]
        assert (max(values), min(values)) == (highest, lowest)
        assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split 'test' is unknown"),
        ({"split": "eval", "fonts": "all"}, "group 'all' is unknown"),
        ({"split": "eval", "kind": "letter"}, "kind 'letter' is unknown: use one of form, receipt"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_rich(random.Random(0), **options)  # type: ignore[arg-type]


def _inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    low = all(a >= b - 1e-6 for a, b in zip(inner[:2], outer[:2]))
    return low and all(a <= b + 1e-6 for a, b in zip(inner[2:], outer[2:]))


def _touching(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return all(min(first[axis + 2], second[axis + 2]) > max(first[axis], second[axis]) for axis in (0, 1))
