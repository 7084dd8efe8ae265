"""GQA: questions about scenes, many an image, the images in a configuration of their own; exact match."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, one_answer, question
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.benchmarks.stored import Join
from sparsemm.metrics import exact_accuracy


def _score(row: Row, prediction: str) -> float:
    return exact_accuracy(prediction, row["answer"])


GQA = HubBenchmark(
    name="gqa",
    metric="accuracy",
    hub=("lmms-lab/GQA", "lmms-lab-encoder/GQA"),
    config="testdev_balanced_instructions",
    split="testdev",
    columns={"id": ("str",), "imageId": ("str",), "question": ("str",), "answer": ("str",)},
    ask=question,
    answers=one_answer,
    rules={"paper": RowMetric(_score), "current": RowMetric(_score)},
    new_tokens=16,
    join=Join(config="testdev_balanced_images", split="testdev", key="imageId", id="id"),
)
