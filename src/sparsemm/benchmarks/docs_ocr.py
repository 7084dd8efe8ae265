"""docs-ocr: read a short English text; ANLS of the whole. Faces seen in training, or held out.

Not contains_accuracy, as of synth-ocr: a sentence has no value to look for, and ANLS tells one wrong letter from a lost
line, so that intervals are narrower at the same number of samples.
"""

from __future__ import annotations

import random
from functools import partial

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.synthetic import Asked, SyntheticBenchmark, draw_rich
from sparsemm.documents.pages import READ_PROMPT
from sparsemm.documents.rich import RichDocument
from sparsemm.metrics import anls


def _ask(document: RichDocument, rng: random.Random) -> list[Asked]:
    return [(READ_PROMPT, document.transcript)]


def _score(row: Row, prediction: str) -> float:
    return anls(prediction, row["answers"])


def _benchmark(name: str, fonts: str) -> SyntheticBenchmark:
    draw = partial(draw_rich, ask=_ask, kinds=("text",), fonts=fonts)
    return SyntheticBenchmark(name, "ANLS", new_tokens=160, draw=draw, score=_score, several=False)


DOCS_OCR = _benchmark("docs-ocr", "train")
DOCS_OCR_UNSEEN = _benchmark("docs-ocr-unseen", "held-out")
