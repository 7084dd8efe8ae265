"""ChartQA: the text asked, and relaxed accuracy."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text

from helpers.rules import Case, check, same


def about(answer: str) -> dict[str, object]:
    return {"type": "human_test", "question": "How many?", "answer": answer}


@pytest.mark.parametrize(
    "case",
    [
        same("105", about("100"), 1.0),
        same("95", about("100"), 1.0),
        same("105.01", about("100"), 0.0),
        same("-10", about("10"), 0.0),
        same("50%", about("0.5"), 1.0),
        same("0.5", about("50%"), 1.0),
        same("50%", about("50"), 0.0),
        same("50 %", about("0.5"), 1.0),  # float takes the space
        same("50%%", about("0.5"), 1.0),  # all of the trailing ones go
        same("%", about("%"), 1.0),
        # A target of 0 has no relative error: compared as text.
        same("0", about("0"), 1.0),
        same("0.0", about("0"), 0.0),
        same("0", about("0%"), 0.0),
        # What float takes.
        same("1e3", about("1000"), 1.0),
        same("1_000", about("1000"), 1.0),
        same(".5", about("0.5"), 1.0),
        same("nan", about("nan"), 0.0),  # numbers, and not near each other
        same("nan", about("0"), 0.0),
        same("inf", about("inf"), 0.0),
        same("5", about("inf"), 0.0),
        same("١٢", about("12"), 1.0),
        # What it does not take is text.
        same("1,000", about("1000"), 0.0),
        same("1,000", about("1,000"), 1.0),
        same("$5", about("5"), 0.0),
        same("10 cats", about("10"), 0.0),
        same("", about("5"), 0.0),
        # Text: equal up to case; the target is not stripped.
        same("Yes", about("yes"), 1.0),
        same(" yes\n", about("yes"), 1.0),
        same("yes", about("yes "), 0.0),
        same("5", about(" 5 "), 1.0),
        same("yes.", about("yes"), 0.0),
    ],
)
def test_relaxed_accuracy(case: Case) -> None:
    check("chartqa", case)


def test_text_and_run() -> None:
    text = "How many?\nAnswer the question with a single word."
    assert task_text("chartqa", about("")) == task_text("chartqa", about(""), rules="current") == text
    assert score_rows("chartqa", [about("5")] * 4, ["5", "5.2", "6", "five"]) == ([1.0, 1.0, 0.0, 0.0], 0.5)
