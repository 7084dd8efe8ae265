"""What several metrics share: the check of the list of answers, and white space."""

from __future__ import annotations

from collections.abc import Sequence

from sparsemm.errors import InputError


def checked_answers(answers: Sequence[str]) -> Sequence[str]:
    """The answers as they are.

    Raises:
        InputError: for a single string (its characters would count as answers) or an empty list.
    """
    if isinstance(answers, str):
        raise InputError(f"answers is the string {answers!r}: give a list of strings")
    if not answers:
        raise InputError("answers is empty: a sample needs at least one answer")
    return answers


def one_line(text: str) -> str:
    """The text with newlines and tabs as spaces."""
    return text.replace("\n", " ").replace("\t", " ")
