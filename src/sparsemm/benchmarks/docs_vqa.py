"""docs-vqa: two questions about a form, a receipt, a table or a sign; ANLS. Faces seen in training, or held out."""

from __future__ import annotations

from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import SyntheticBenchmark, ask_all, draw_rich
from sparsemm.metrics import anls


def _score(row: Row, prediction: str) -> float:
    return anls(prediction, row["answers"])


def _benchmark(name: str, fonts: str) -> SyntheticBenchmark:
    draw = partial(draw_rich, ask=ask_all, kinds=("form", "receipt", "table", "sign"), fonts=fonts)
    return SyntheticBenchmark(name, "ANLS", new_tokens=32, draw=draw, score=_score, questions=2)


DOCS_VQA = _benchmark("docs-vqa", "train")
DOCS_VQA_UNSEEN = _benchmark("docs-vqa-unseen", "held-out")
