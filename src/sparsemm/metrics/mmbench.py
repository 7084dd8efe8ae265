"""Which option an answer to a multiple-choice question names, by MMBench's rules. No judge is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LETTERS = "ABCD"
# What may stand before and after a letter, in the order in which it is tried.
_AROUND = (
    ("", "."),
    ("", ","),
    ("", ":"),
    ("", ")"),
    ("", ")."),
    ("(", ")"),
    ("(", ")."),
    (":", ""),
    (":", ","),
    (":", "."),
    (":", ")"),
    (":", ")."),
)


def read_option(answer: str, row: Mapping[str, Any]) -> str | None:
    """The letter that an answer names, or None if it cannot be read.

    In order: the one letter of A to E that is a word (an "A" among more than three words may be an article, and then
    does not count); the one letter of A to D that is a word with a mark ("B.", "(B)"); the one option whose text is in
    the answer.

    Args:
        answer: without surrounding white space.
        row: its columns A to D are the options; one that is absent has the text "nan", as in the data set, and a null
            is no option.
    """
    words = answer.split()
    letters = [letter for letter in "ABCDE" if letter in words]
    if len(letters) == 1 and not (letters == ["A"] and len(words) > 3):
        return letters[0]
    for before, after in _AROUND:
        letters = [letter for letter in _LETTERS if f"{before}{letter}{after}" in words]
        if len(letters) == 1:
            return letters[0]
    options = {letter: row.get(letter, "nan") for letter in _LETTERS}
    said = answer.lower()
    letters = [letter for letter, text in options.items() if not is_null(text) and str(text).lower() in said]
    return letters[0] if len(letters) == 1 else None


def is_null(value: Any) -> bool:
    """Whether a cell is empty: None or NaN. The string "nan" is not."""
    return value is None or value != value
