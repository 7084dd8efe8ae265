"""synth-chart: the number of one bar of a chart; relaxed accuracy."""

from __future__ import annotations

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import SyntheticBenchmark, ask_value
from sparsemm.metrics import relaxed_accuracy


def _score(row: Row, prediction: str) -> float:
    return relaxed_accuracy(prediction, row["answers"][0])


SYNTH_CHART = SyntheticBenchmark(
    "synth-chart", "relaxed accuracy", new_tokens=8, ask=ask_value, score=_score, kind="chart"
)
