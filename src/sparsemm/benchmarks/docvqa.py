"""DocVQA: questions about scanned pages; ANLS."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, all_answers, question
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.metrics import anls


def _score(row: Row, prediction: str) -> float:
    return anls(prediction, row["answers"])


DOCVQA = HubBenchmark(
    name="docvqa",
    metric="ANLS",
    hub=("lmms-lab/DocVQA", "lmms-lab-encoder/DocVQA"),
    config="DocVQA",
    split="validation",
    columns={"questionId": ("str",), "question": ("str",), "answers": ("list[str]",)},
    ask=question,
    answers=all_answers,
    rules={"paper": RowMetric(_score), "current": RowMetric(_score)},
    new_tokens=32,
)
