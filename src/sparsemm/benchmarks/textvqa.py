"""TextVQA: questions about text in photographs, ten annotators each; VQA accuracy."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import QWEN, SHORT_ANSWER, HubBenchmark, all_answers, text
from sparsemm.benchmarks.metric import RowMetric
from sparsemm.metrics import vqa_accuracy


def _ask(row: Row) -> str:
    return text(row, "question").capitalize() + SHORT_ANSWER


def _score(row: Row, prediction: str) -> float:
    return vqa_accuracy(prediction, row["answers"])


TEXTVQA = HubBenchmark(
    name="textvqa",
    metric="VQA accuracy",
    hub=("lmms-lab/textvqa", "lmms-lab-encoder/textvqa"),
    config="default",
    split="validation",
    columns={"question_id": ("int",), "question": ("str",), "answers": ("list[str]",)},
    ask=_ask,
    answers=all_answers,
    rules={"paper": RowMetric(_score), "current": RowMetric(_score)},
    # The rule sets do not set it: 1,024 is what LLaVA's wrapper takes then, 128 Qwen2-VL's.
    new_tokens={"": 1024, **dict.fromkeys(QWEN, 128)},
    until=("ASSISTANT:",),
)
