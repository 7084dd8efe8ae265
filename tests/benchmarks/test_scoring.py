"""Scoring and asking through the two public functions: rows and runs, rule sets, bad input in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sparsemm.benchmarks import (
    Benchmark,
    Generation,
    Metric,
    RowMetric,
    RunMetric,
    Sample,
    Unit,
    score_rows,
    task_text,
)
from sparsemm.errors import InputError

ROW = {"question": "What is the value of ABC?", "answers": ["12", "XY 34"]}


def groups_of_rotations(rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> list[Unit]:
    """As MMBench: a question is right if every rotation of it is."""
    right: dict[int, bool] = {}
    for row, text in zip(rows, predictions, strict=True):
        right[row["group"]] = right.get(row["group"], True) and text == row["answer"]
    return [Unit(2 * group, float(value)) for group, value in right.items()]


def overlap(rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> list[Unit]:
    """As CIDEr: a row's score depends on the whole run; at most 10."""
    return [Unit(i, 10.0 * predictions.count(text) / len(rows)) for i, text in enumerate(predictions)]


@dataclass(frozen=True)
class MadeUp:
    """A benchmark with a metric of each kind, and a prompt for each family."""

    name: str = "made-up"
    metric: str = "several"

    @property
    def rules(self) -> Mapping[str, Metric]:
        return {
            "paper": RunMetric(groups_of_rotations),
            "current": RowMetric(lambda row, text: float(text == row["answer"])),
            "captions": RunMetric(overlap, top=10.0),
            "absent": RunMetric(
                lambda rows, texts: [Unit(0, 1.0), Unit(1, None)], lacks=lambda: "no Java: get it"
            ),
            "nothing": RunMetric(lambda rows, texts: []),
            "percent": RowMetric(lambda row, text: float(text == row["answer"]), out_of=100),
        }

    def generation(self, family: str) -> Generation:
        return Generation(4)

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        raise NotImplementedError

    def prompt(self, row: Mapping[str, Any], family: str = "", *, rules: str = "paper") -> str:
        return f"[{family}|{rules}] {row['answer']}"


def test_a_row_metric_gives_every_row_and_the_mean() -> None:
    assert score_rows("synth-docvqa", [ROW, ROW, ROW], ["XY 34", " 12\n", "no"]) == ([1.0, 1.0, 0.0], 2 / 3)
    assert score_rows("synth-ocr", [ROW], ["the value is XY 34."]) == ([1.0], 1.0)
    assert score_rows("synth-chart", [ROW, ROW], ["12.5", "13"], rules="current") == ([1.0, 0.0], 0.5)
    assert task_text("synth-docvqa", ROW) == "What is the value of ABC?"


def test_a_metric_may_need_the_whole_run() -> None:
    made = MadeUp()
    assert isinstance(made, Benchmark)
    rows = [{"group": index // 2, "answer": "A"} for index in range(6)]
    answers = ["A", "A", "A", "B", "A", " A "]
    assert score_rows(made, rows, answers) == ([None] * 6, 2 / 3)
    assert score_rows(made, rows, answers, rules="current") == ([1, 1, 1, 0, 1, 1], 5 / 6)
    each, corpus = score_rows(made, rows, answers, rules="captions")
    assert each == [None] * 6
    assert corpus == pytest.approx((5 * 50 / 6 + 10 / 6) / 6)
    assert {name for name, metric in made.rules.items() if metric.top == 10.0} == {"captions"}
    assert score_rows(made, rows, answers, rules="percent")[1] == 0.05


def test_a_run_without_scores_says_why() -> None:
    rows = [{"group": 0, "answer": "A"}] * 2
    with pytest.raises(InputError, match=r"^benchmarks\.made-up: no score: no Java: get it$"):
        score_rows(MadeUp(), rows, ["A", "A"], rules="absent")
    with pytest.raises(InputError, match=r"^benchmarks\.made-up: .*nothing that can be scored"):
        score_rows(MadeUp(), rows, ["A", "A"], rules="nothing")


def test_rule_sets_and_families_may_be_asked_differently() -> None:
    made = MadeUp()
    assert task_text(made, {"answer": "A"}, rules="current") == "[|current] A"
    assert made.prompt({"answer": "A"}, "qwen2_vl") == "[qwen2_vl|paper] A"


@pytest.mark.parametrize(
    ("fault", "name", "rows", "predictions", "rules"),
    [
        ("unknown benchmark", "synth-docvqq", [ROW], ["a"], "paper"),
        ("unknown rule set 'papers'; use one of paper, current", "synth-ocr", [ROW], ["a"], "papers"),
        ("2 predictions for 1 rows", "synth-ocr", [ROW], ["a", "b"], "paper"),
        ("0 predictions for 0 rows", "synth-ocr", [], [], "paper"),
        ("lacks the column 'answers'", "synth-ocr", [{"question": "?"}], ["a"], "paper"),
    ],
)
def test_bad_scoring_is_refused_in_one_line(
    fault: str, name: str, rows: list[dict[str, Any]], predictions: list[str], rules: str
) -> None:
    with pytest.raises(InputError, match=fault) as error:
        score_rows(name, rows, predictions, rules=rules)
    assert str(error.value).startswith(f"benchmarks.{name}: ")
    assert "\n" not in str(error.value)


def test_bad_questions_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="lacks the column 'question'"):
        task_text("synth-docvqa", {"answers": ["a"]})
    with pytest.raises(InputError, match="unknown rule set"):
        task_text("synth-docvqa", ROW, rules="old")
