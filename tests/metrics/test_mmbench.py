"""Which option an answer names: three steps, in order."""

from __future__ import annotations

from typing import Any

import pytest

from sparsemm.metrics import read_option

OPTIONS = {"A": "Red", "B": "blue", "C": "green", "D": "nan"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # 1: one letter of A to E is a word.
        ("B", "B"),
        ("The answer is B", "B"),
        ("B\nblue", "B"),
        ("E", "E"),
        ("B and B", "B"),
        ("b", None),
        ("A", "A"),
        ("A or so", "A"),
        ("A cat is here", None),  # an "A" among more than three words may be an article
        ("A cat is B", None),  # two letters
        ("A thing is red", "A"),  # by its text
        ("A dog is in (B)", "B"),  # the first step stops, the second goes on
        # 2: one letter of A to D with a mark is a word, patterns in order.
        ("B.", "B"),
        ("B,", "B"),
        ("B:", "B"),
        ("B)", "B"),
        ("B).", "B"),
        ("(B)", "B"),
        ("(B).", "B"),
        (":B", "B"),
        (":B,", "B"),
        (":B.", "B"),
        (":B)", "B"),
        (":B).", "B"),
        ("[B]", None),
        ("B;", None),
        ("C) or B.", "B"),  # "X." stands before "X)"
        ("A. C. (B)", "B"),  # two of a pattern: the next one
        ("B. E.", "B"),  # E does not count here
        ("E.", None),
        ("A B (C)", "C"),  # two letters as words, one with a mark
        # 3: one option's text is in the answer.
        ("It is BLUE!", "B"),
        ("red", "A"),
        ("red and blue", None),
        ("bananas", "D"),  # "nan" is a text like any other
        ("a red banana", None),
        ("purple", None),
        ("", None),
    ],
)
def test_read_option(answer: str, letter: str | None) -> None:
    assert read_option(answer, OPTIONS) == letter


@pytest.mark.parametrize(
    ("changes", "answer", "letter"),
    [
        ({"D": None}, "bananas", None),  # a null is no option
        ({"D": float("nan")}, "bananas", None),
        ({"D": ""}, "purple", "D"),  # an empty text is in every answer
        ({"D": ""}, "blue", None),
        ({"D": 12}, "12", "D"),
        ({"E": "purple"}, "purple", None),  # E has no text
        ({"C": "blue"}, "blue", None),
    ],
)
def test_unusual_options(changes: dict[str, Any], answer: str, letter: str | None) -> None:
    assert read_option(answer, {**OPTIONS, **changes}) == letter


def test_an_absent_option_is_the_text_nan() -> None:
    assert read_option("banana", {"A": "red", "B": "blue", "C": "x"}) == "D"
    assert read_option("finance", {"A": "red", "B": "blue"}) is None  # two absent ones
