"""VQAv2: questions about photographs, ten annotators each; VQA accuracy."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, question
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.metrics import vqav2_row_accuracy


def _answers(row: Row) -> list[str]:
    return [each["answer"] for each in row["answers"] or ()]


def _paper(row: Row, prediction: str) -> float:
    return vqav2_row_accuracy(prediction, row["answers"], rules="paper")


def _current(row: Row, prediction: str) -> float:
    return vqav2_row_accuracy(prediction, row["answers"], rules="current")


VQAV2 = HubBenchmark(
    name="vqav2",
    metric="VQA accuracy",
    hub=("lmms-lab/VQAv2", "lmms-lab-encoder/VQAv2"),
    config="default",
    split="validation",
    columns={"question_id": ("int",), "question": ("str",), "answers": ("list[answer]",)},
    ask=question,
    answers=_answers,
    rules={"paper": RowMetric(_paper), "current": RowMetric(_current)},
    new_tokens=16,
)
