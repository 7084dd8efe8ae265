"""What several metrics share: the checks of a row's answers, and white space."""

from __future__ import annotations

from collections.abc import Sequence

from sparsemm.errors import InputError


def checked_answers(answers: Sequence[str]) -> Sequence[str]:
    """The answers as they are.

    Raises:
        InputError: for a single string (its characters would count as answers), an empty list, or what is no string.
    """
    if isinstance(answers, str):
        raise InputError(f"answers is the string {answers!r}: give a list of strings")
    if answers is None or not len(answers):
        raise InputError("answers is empty: a sample needs at least one answer")
    for answer in answers:
        checked_answer(answer)
    return answers


def checked_answer(answer: str) -> str:
    """One answer as it is.

    Raises:
        InputError: for what is no string.
    """
    if not isinstance(answer, str):
        raise InputError(f"an answer is {answer!r}: give a string")
    return answer


def one_line(text: str) -> str:
    """The text with newlines and tabs as spaces."""
    return text.replace("\n", " ").replace("\t", " ")
