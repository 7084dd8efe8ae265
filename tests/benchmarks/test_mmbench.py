"""MMBench: the text asked, and questions that are right only if all their rotations are."""

from __future__ import annotations

from typing import Any

import pytest

from sparsemm.benchmarks import get_benchmark, score_rows, task_text
from sparsemm.benchmarks.metric import RunMetric, Unit
from sparsemm.errors import InputError

POST = "\n\nAnswer with the option's letter from the given choices directly."
TURN = 1_000_000


def row(index: int | str, answer: str = "A", **changes: Any) -> dict[str, Any]:
    options = {"A": "red", "B": "blue", "C": "green", "D": "nan"}
    return {"index": index, "question": "Which?", "hint": "nan", **options, "answer": answer, **changes}


def units(rows: list[dict[str, Any]], predictions: list[str], rules: str = "paper") -> list[Unit]:
    metric = get_benchmark("mmbench").rules[rules]
    assert isinstance(metric, RunMetric)
    return metric.score(rows, predictions)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Which? There are several options:\nA. red\nB. blue\nC. green"),
        ({"hint": "See it."}, "See it. Which? There are several options:\nA. red\nB. blue\nC. green"),
        ({"hint": ""}, " Which? There are several options:\nA. red\nB. blue\nC. green"),
        ({"hint": None}, "Which? There are several options:\nA. red\nB. blue\nC. green"),
        ({"hint": float("nan")}, "Which? There are several options:\nA. red\nB. blue\nC. green"),
        ({"C": ""}, "Which? There are several options:\nA. red\nB. blue"),
        ({"C": None, "D": "four"}, "Which? There are several options:\nA. red\nB. blue\nD. four"),
        ({"E": "five"}, "Which? There are several options:\nA. red\nB. blue\nC. green\nE. five"),
        ({"question": " Q "}, " Q  There are several options:\nA. red\nB. blue\nC. green"),
        ({"C": "green\n\n"}, "Which? There are several options:\nA. red\nB. blue\nC. green"),
        (dict.fromkeys("ABCD", "nan"), "Which? There are several options:"),
    ],
)
def test_text(changes: dict[str, Any], text: str) -> None:
    for rules in ("paper", "current"):
        assert task_text("mmbench", row(1, **changes), rules=rules) == text + POST


def test_a_missing_hint_or_option_is_left_out() -> None:
    short = {"question": "Which?", "A": "red", "B": "blue"}
    assert task_text("mmbench", short) == "Which? There are several options:\nA. red\nB. blue" + POST


def test_a_question_is_right_if_all_rotations_are() -> None:
    rows = [row(3), row(3 + TURN, "B"), row(4), row(3 + 2 * TURN, "C"), row(4 + TURN, "B"), row(5, "D")]
    predictions = ["A", "B.", "A", "(C)", "C", "D"]
    for rules in ("paper", "current"):
        assert units(rows, predictions, rules) == [Unit(0, 1.0), Unit(2, 0.0), Unit(5, 1.0)]
        assert score_rows("mmbench", rows, predictions, rules=rules) == ([None] * 6, 2 / 3)


def test_an_answer_that_cannot_be_read_is_wrong_and_counted() -> None:
    rows = [row(1), row(1 + TURN), row(2), row(2 + TURN), row(3)]
    assert units(rows, ["A", "who knows", "?", "B", "blue"]) == [
        Unit(0, 0.0, 1),
        Unit(2, 0.0, 1),
        Unit(4, 0.0, 0),
    ]


def test_an_index_is_a_number_or_its_string() -> None:
    rows = [row("7"), row(str(7 + TURN), "B"), row(7 + 3 * TURN)]
    assert units(rows, ["A", "B", "A"]) == [Unit(0, 1.0)]
    with pytest.raises(InputError, match=r"^benchmarks\.mmbench: index is 'x7': give a number"):
        score_rows("mmbench", [row("x7")], ["A"])


def test_rotations_alone_are_no_question() -> None:
    assert units([row(TURN + 1)], ["A"]) == []
    assert units([row(TURN - 1), row(TURN)], ["A", "B"]) == [Unit(0, 1.0)]
    with pytest.raises(InputError, match=r"^benchmarks\.mmbench: .*whole groups"):
        score_rows("mmbench", [row(TURN + 1)], ["A"])


def test_predictions_are_stripped() -> None:
    assert score_rows("mmbench", [row(1)], [" A\n"]) == ([None], 1.0)
    assert score_rows("mmbench", [row(1, D=" red ", A="x")], ["the red "])[1] == 0.0  # " red " is not in it
