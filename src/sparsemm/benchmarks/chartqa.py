"""ChartQA: questions about charts; relaxed accuracy."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, one_answer, text
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.metrics import relaxed_accuracy


def _ask(row: Row) -> str:
    return text(row, "question") + "\nAnswer the question with a single word."


def _score(row: Row, prediction: str) -> float:
    return relaxed_accuracy(prediction, row["answer"])


CHARTQA = HubBenchmark(
    name="chartqa",
    metric="relaxed accuracy",
    hub=("lmms-lab/ChartQA", "lmms-lab-encoder/ChartQA"),
    config="default",
    split="test",
    columns={"type": ("str",), "question": ("str",), "answer": ("str",)},
    ask=_ask,
    answers=one_answer,
    rules={"paper": RowMetric(_score), "current": RowMetric(_score)},
    new_tokens=16,
)
