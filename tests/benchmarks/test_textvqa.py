"""TextVQA: the text asked, and agreement with ten annotators after the EvalAI processor."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text

from helpers.rules import Case, check, same


def about(*answers: str) -> dict[str, object]:
    return {"question_id": 1, "question": "what IS it?", "answers": list(answers)}


@pytest.mark.parametrize(
    "case",
    [
        same("A dog.", about(*["dog"] * 10), 1.0),
        same("two", about(*["2"] * 10), 1.0),
        # One match among the nine others is a third, the answer itself left out.
        same("x", about("x", *["y"] * 9), 9 * (1 / 3) / 10),
        same("x", about("x", "x", *["y"] * 8), (2 * (1 / 3) + 8 * (2 / 3)) / 10),
        same("x", about("x", "x", "x", *["y"] * 7), (3 * (2 / 3) + 7) / 10),
        same("x", about(*["x"] * 4, *["y"] * 6), 1.0),
        # Equal answers that are written differently match.
        same("1,000", about("1000", "1,000", "1000.", "the 1000", *["y"] * 6), 1.0),
        same("it's", about(*["it's"] * 10), 1.0),  # both sides become "it 's"
        same("its", about(*["it's"] * 10), 0.0),
        same("", about(*["the"] * 10), 1.0),  # an article alone is nothing
    ],
)
def test_accuracy(case: Case) -> None:
    check("textvqa", case)


def test_the_run_is_the_mean() -> None:
    rows = [about(*["a dog"] * 10)] * 2
    assert score_rows("textvqa", rows, ["dog", "cat"], rules="current") == ([1.0, 0.0], 0.5)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("what IS it?", "What is it?"),
        ("WHO", "Who"),
        (" is IT", " is it"),  # the first letter is a space: nothing is capital, nothing stripped
        ("", ""),
    ],
)
def test_the_question_is_capitalised_and_has_no_ocr_tokens(question: str, text: str) -> None:
    row = {"question": question, "ocr_tokens": ["STOP"]}
    assert task_text("textvqa", row) == text + "\nAnswer the question using a single word or phrase."
