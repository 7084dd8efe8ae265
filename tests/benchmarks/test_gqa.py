"""GQA: the text asked, and exact match."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text

from helpers.rules import Case, check, same


def about(answer: str) -> dict[str, object]:
    return {"id": "1", "imageId": "n1", "question": "Is it?", "answer": answer}


@pytest.mark.parametrize(
    "case",
    [
        same("Yes", about("yes"), 1.0),
        same("yes.", about("yes"), 1.0),
        same("yes .", about("yes"), 0.0),  # the space stays
        same(" yes\n", about("yes"), 1.0),
        same("yes", about("yes "), 0.0),
        same("T-shirt", about("tshirt"), 1.0),
        same("t shirt", about("tshirt"), 0.0),
        same("the dog", about("dog"), 0.0),  # articles stay
        same("two", about("2"), 0.0),
        same("yes。", about("yes"), 0.0),  # ASCII punctuation alone
        same("!", about("?"), 1.0),
        same("", about("yes"), 0.0),
    ],
)
def test_exact_match(case: Case) -> None:
    check("gqa", case)


def test_text_and_run() -> None:
    text = "Is it?\nAnswer the question using a single word or phrase."
    assert task_text("gqa", about("")) == task_text("gqa", about(""), rules="current") == text
    assert score_rows("gqa", [about("yes")] * 2, ["Yes!", "no"]) == ([1.0, 0.0], 0.5)
