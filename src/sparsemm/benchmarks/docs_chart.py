"""docs-chart: two questions about a chart with axes; relaxed accuracy. Faces seen in training, or held out."""

from __future__ import annotations

from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import SyntheticBenchmark, ask_all, draw_rich
from sparsemm.metrics import relaxed_accuracy


def _score(row: Row, prediction: str) -> float:
    return relaxed_accuracy(prediction, row["answers"][0])


def _benchmark(name: str, fonts: str) -> SyntheticBenchmark:
    draw = partial(draw_rich, ask=ask_all, kinds=("chart",), fonts=fonts)
    return SyntheticBenchmark(name, "relaxed accuracy", new_tokens=8, draw=draw, score=_score, questions=2)


DOCS_CHART = _benchmark("docs-chart", "train")
DOCS_CHART_UNSEEN = _benchmark("docs-chart-unseen", "held-out")
