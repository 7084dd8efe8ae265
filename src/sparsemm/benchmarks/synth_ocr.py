"""synth-ocr: read the whole page; right if the answer contains one value drawn from the page."""

from __future__ import annotations

import random
from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import Asked, SyntheticBenchmark, draw_page
from sparsemm.documents.pages import READ_PROMPT, Document
from sparsemm.metrics import contains_accuracy


def _ask(document: Document, rng: random.Random) -> list[Asked]:
    return [
        (READ_PROMPT, rng.choice(document.lines).value)
    ]  # a value: a short key could be contained by chance


def _score(row: Row, prediction: str) -> float:
    return contains_accuracy(prediction, row["answers"])


SYNTH_OCR = SyntheticBenchmark(
    "synth-ocr",
    "accuracy",
    new_tokens=160,
    draw=partial(draw_page, ask=_ask),
    score=_score,
    several=False,
)
