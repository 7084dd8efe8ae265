"""synth-chart: the number of one bar of a chart; relaxed accuracy."""

from __future__ import annotations

from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import SyntheticBenchmark, ask_values, draw_page
from sparsemm.metrics import relaxed_accuracy


def _score(row: Row, prediction: str) -> float:
    return relaxed_accuracy(prediction, row["answers"][0])


SYNTH_CHART = SyntheticBenchmark(
    "synth-chart",
    "relaxed accuracy",
    new_tokens=8,
    draw=partial(draw_page, ask=ask_values, kind="chart"),
    score=_score,
)
