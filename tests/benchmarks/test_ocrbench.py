"""OCRBench: the text asked, and what containing means by each rule set."""

from __future__ import annotations

import pytest

from sparsemm.benchmarks import score_rows, task_text

from helpers.rules import Case, check, same


def about(answer: str | list[str], dataset: str = "IIIT5K") -> dict[str, object]:
    row = {
        "dataset": dataset,
        "question": " What is written? \n",
        "question_type": "Regular Text Recognition",
    }
    return {**row, "answer": answer}


@pytest.mark.parametrize(
    "case",
    [
        same("The sign says STOP.", about(["stop"]), 1.0),
        same("stop", about(["STOP sign"]), 0.0),
        same("x", about(["y", "X"]), 1.0),  # any answer
        same("x", about("X"), 1.0),  # a string is one answer, not its letters
        same("ab", about("ba"), 0.0),
        same("line one\nline two", about(["one line"]), 1.0),
        same("a b", about(["ab"]), 0.0),  # spaces count
        same("a\tb", about(["a b"]), 0.0),  # only newlines are spaces
        same("x", about([" X\n"]), 1.0),
        same("", about([""]), 1.0),  # an empty answer is in every prediction
        same("x", about([" "]), 1.0),
        same("", about(["x"]), 0.0),
        # Full-width characters are folded by `current` alone, on both sides.
        Case("ＡＢＣ１２３", about(["abc123"]), 0.0, 1.0),
        Case("abc！", about(["ａｂｃ!"]), 0.0, 1.0),
        Case("a b", about(["a\u3000b"]), 0.0, 1.0),
        same("ＡＢ", about(["ａｂ"]), 1.0),  # lower case has full-width letters too
    ],
)
def test_usual_rows(case: Case) -> None:
    check("ocrbench", case)


@pytest.mark.parametrize(
    "case",
    [
        same(r"\frac { a } { b }", about([r"\frac{a}{b}"], "HME100k"), 1.0),
        same("a\nb", about(["ab"], "HME100k"), 1.0),
        same("a\tb", about(["ab"], "HME100k"), 0.0),
        same("= a b", about("a  b ", "HME100k"), 1.0),
        # The answer keeps its case; `paper` has lower-cased the prediction before.
        Case("X + y", about(["X+y"], "HME100k"), 0.0, 1.0),
        Case("X + y", about(["x+y"], "HME100k"), 1.0, 0.0),
        same("x + y", about(["X+y"], "HME100k"), 0.0),
        # Nothing is folded here.
        same("１＋２", about(["1+2"], "HME100k"), 0.0),
        # The name is exact: any other row is a usual one.
        same("X y", about(["x y"], "HME100K"), 1.0),
        same("X y", about(["xy"], "HME100K"), 0.0),
    ],
)
def test_formulas(case: Case) -> None:
    check("ocrbench", case)


def test_the_run_is_the_number_of_right_answers_in_a_thousand() -> None:
    rows = [about(["a"])] * 4
    assert score_rows("ocrbench", rows, ["a", "a", "b", "A"]) == ([1.0, 1.0, 0.0, 1.0], 3 / 1000)


def test_the_question_is_stripped_and_nothing_is_added() -> None:
    assert (
        task_text("ocrbench", about(""))
        == task_text("ocrbench", about(""), rules="current")
        == "What is written?"
    )
