"""DocVQA: the text asked, and ANLS to the letter."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text

from helpers.rules import Case, check, same


def about(*answers: str) -> dict[str, object]:
    return {"questionId": "1", "question": "What is it?", "answers": list(answers)}


@pytest.mark.parametrize(
    "case",
    [
        same("Hello", about("hello"), 1.0),
        same("  hello\n", about("hello"), 1.0),  # the prediction is stripped
        same("a  b\nc", about("A B C"), 1.0),  # white space is one space
        # Both sides are stripped and collapsed for the distance, the length is that of the raw strings.
        same("ab cx", about(" ab  cd "), 1 - 1 / 8),
        same("abcd", about("abce", "zzzz"), 0.75),  # the best answer counts
        same("ab", about("ax"), 0.5),
        same("abc", about("axy"), 0.0),  # 1/3 is below 0.5
        same("", about(""), 1.0),
        same("", about(" "), 1.0),
        same("", about("a"), 0.0),
        # Lengths are those of the upper-cased strings: "STRASSE" has 7 letters.
        same("straxe", about("straße"), 1 - 1 / 7),
        same("ﬃ", about("a"), 1 - 1 / 3),  # "FFI" has three, one is changed
    ],
)
def test_anls(case: Case) -> None:
    check("docvqa", case)


def test_the_run_is_the_mean_and_the_question_is_not_stripped() -> None:
    rows = [about("ab"), about("ab")]
    assert score_rows("docvqa", rows, ["ab", "zz"]) == ([1.0, 0.0], 0.5)
    for rules in ("paper", "current"):
        text = task_text("docvqa", {"question": " Which year? "}, rules=rules)
        assert text == " Which year? \nAnswer the question using a single word or phrase."
