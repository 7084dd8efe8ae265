"""synth-docvqa: the value of one key of a page; ANLS."""

from __future__ import annotations

from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import SyntheticBenchmark, ask_values, draw_page
from sparsemm.metrics import anls


def _score(row: Row, prediction: str) -> float:
    return anls(prediction, row["answers"])


SYNTH_DOCVQA = SyntheticBenchmark(
    "synth-docvqa", "ANLS", new_tokens=12, draw=partial(draw_page, ask=ask_values), score=_score
)
