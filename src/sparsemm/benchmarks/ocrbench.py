"""OCRBench: text recognition of many kinds; right if the answer contains a target."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, text
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.metrics import ocrbench_accuracy

_ROWS = 1000  # the score is the number of right answers over this, whatever number of rows is scored


def _ask(row: Row) -> str:
    return text(row, "question").strip()


def _answers(row: Row) -> list[str]:
    given = row["answer"]
    return [given] if isinstance(given, str) else list(given or ())


def _paper(row: Row, prediction: str) -> float:
    return ocrbench_accuracy(prediction, row["answer"], row["dataset"], rules="paper")


def _current(row: Row, prediction: str) -> float:
    return ocrbench_accuracy(prediction, row["answer"], row["dataset"], rules="current")


OCRBENCH = HubBenchmark(
    name="ocrbench",
    metric="accuracy",
    hub=("echo840/OCRBench",),
    config="default",
    split="test",
    columns={
        "dataset": ("str",),
        "question": ("str",),
        "question_type": ("str",),
        "answer": ("list[str]", "str"),
    },
    ask=_ask,
    answers=_answers,
    rules={"paper": RowMetric(_paper, out_of=_ROWS), "current": RowMetric(_current, out_of=_ROWS)},
    new_tokens=128,
)
