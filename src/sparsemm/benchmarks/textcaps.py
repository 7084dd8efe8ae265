"""TextCaps: captions of images with text; CIDEr over the captions of the whole run."""

from __future__ import annotations

from collections.abc import Sequence

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark
from sparsemm.benchmarks.metric import RunMetric, Unit
from sparsemm.metrics import cider, cider_lacks


def _ask(row: Row) -> str:
    return "Provide a one-sentence caption for the provided image."


def _answers(row: Row) -> list[str]:
    return list(row["caption_str"] or ())


def _score(rows: Sequence[Row], predictions: Sequence[str]) -> list[Unit]:
    """A unit a caption; without scores where pycocoevalcap or Java is missing."""
    references = [row["caption_str"] for row in rows]
    if cider_lacks() is not None:
        return [Unit(number, None) for number in range(len(rows))]
    return [Unit(number, score) for number, score in enumerate(cider(predictions, references)[1])]


_CIDER = RunMetric(_score, top=10.0, lacks=cider_lacks)

TEXTCAPS = HubBenchmark(
    name="textcaps",
    metric="CIDEr",
    hub=("lmms-lab/TextCaps", "lmms-lab-encoder/TextCaps"),
    config="default",
    split="val",
    columns={"question_id": ("str", "int"), "image_id": ("str",), "caption_str": ("list[str]",)},
    ask=_ask,
    answers=_answers,
    rules={"paper": _CIDER, "current": _CIDER},
    new_tokens=64,
)
