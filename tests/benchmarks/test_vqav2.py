"""VQAv2: the text asked, and where the rule sets part."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text
from sparsemm.errors import InputError

from helpers.rules import Case, check, same


def about(*answers: str, ids: tuple[int, ...] = tuple(range(1, 11))) -> dict[str, object]:
    each = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": own} for answer, own in zip(answers, ids)
    ]
    return {"question_id": 1, "question": "Is it?", "answers": each}


@pytest.mark.parametrize(
    "case",
    [
        same("dog", about(*["dog"] * 10), 1.0),
        # All answers equal: `paper` compares them as they are with the processed prediction.
        Case("A dog", about(*["A dog"] * 10), 0.0, 1.0),
        Case("A dog", about(*["dog"] * 10), 1.0, 1.0),
        Case("two", about(*["two"] * 10), 0.0, 1.0),
        Case("yes.", about(*["yes."] * 10), 0.0, 1.0),
        Case("Yes", about(*["Yes"] * 10), 0.0, 1.0),
        same("dog", about(*["dog"] * 5, *[" dog\n"] * 5), 1.0),  # equal once white space is gone
        Case("two", about(*["two"] * 9, "2"), 1.0, 1.0),  # not all equal: processed
        # `paper` splits the genitive of the prediction, not of the answers.
        Case("john's", about(*["john's"] * 9, "x"), 0.0, 1.0),
        Case("john 's", about(*["john 's"] * 9, "x"), 1.0, 1.0),
        # The processor's word step drops commas and question marks; `current` makes them spaces, on both sides.
        Case("a,b", about(*["ab"] * 9, "x"), 1.0, 0.0),
        Case("a,b", about(*["a b"] * 9, "x"), 0.0, 1.0),
        same("1,000", about(*["1000"] * 9, "x"), 1.0),
        # Processed twice: the first pass takes the marks that hid a contraction from it.
        Case("don_t", about(*["don t"] * 9, "x"), 1.0, 1.0),
        Case("-the-", about(*["x"] * 9, "y"), 0.0, 0.0),
        # A third for each match among the others.
        same("x", about("x", *["y"] * 9), 9 * (1 / 3) / 10),
        same("x", about("x", "x", "x", *["y"] * 7), (3 * (2 / 3) + 7) / 10),
        same("net", about("a net", "net.", "the net", *["y"] * 7), (3 * (2 / 3) + 7) / 10),
        # Others are answers whose dict differs: the same annotator twice is one.
        same("x", about(*["x"] * 3, *["y"] * 7, ids=(1, 1, 1, *range(2, 9))), 7 / 10),
        same("x", about(*["x"] * 10, ids=(1,) * 10), 0.0),
        same("x", about("x.", "x", "the x", *["y"] * 7, ids=(1, 1, 1, *range(2, 9))), 7 / 10),
    ],
)
def test_accuracy(case: Case) -> None:
    check("vqav2", case)


def test_text_and_run() -> None:
    text = "Is it?\nAnswer the question using a single word or phrase."
    assert task_text("vqav2", about()) == task_text("vqav2", about(), rules="current") == text
    assert score_rows("vqav2", [about(*["x"] * 10)] * 2, ["x", "y"]) == ([1.0, 0.0], 0.5)


@pytest.mark.parametrize("answers", [None, [], "x", ["x"] * 10])
def test_answers_are_the_data_set_s_dicts(answers: object) -> None:
    with pytest.raises(InputError, match=r"^benchmarks\.vqav2: row 0: answers"):
        score_rows("vqav2", [{"answers": answers}], ["x"])
