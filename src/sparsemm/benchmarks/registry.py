"""The benchmarks' names, and the file of each, which is imported when its benchmark is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsemm.benchmarks.base import Benchmark
from sparsemm.errors import InputError

# Name -> `file.OBJECT` under sparsemm/benchmarks/. A new benchmark is one file there and one line here.
BENCHMARKS: Mapping[str, str] = {
    "synth-docvqa": "synth_docvqa.SYNTH_DOCVQA",
    "synth-ocr": "synth_ocr.SYNTH_OCR",
    "synth-chart": "synth_chart.SYNTH_CHART",
    "docs-vqa": "docs_vqa.DOCS_VQA",
    "docs-vqa-unseen": "docs_vqa.DOCS_VQA_UNSEEN",
    "docs-ocr": "docs_ocr.DOCS_OCR",
    "docs-ocr-unseen": "docs_ocr.DOCS_OCR_UNSEEN",
    "docs-chart": "docs_chart.DOCS_CHART",
    "docs-chart-unseen": "docs_chart.DOCS_CHART_UNSEEN",
    "docvqa": "docvqa.DOCVQA",
    "ocrbench": "ocrbench.OCRBENCH",
    "textvqa": "textvqa.TEXTVQA",
    "chartqa": "chartqa.CHARTQA",
    "textcaps": "textcaps.TEXTCAPS",
    "mmbench": "mmbench.MMBENCH",
    "gqa": "gqa.GQA",
    "vqav2": "vqav2.VQAV2",
}


def benchmark_names() -> list[str]:
    """Every known name, synthetic ones first."""
    return list(BENCHMARKS)


def get_benchmark(
    name: str,
    *,
    max_new_tokens: int | None = None,
    questions: int | None = None,
    hub: str | Sequence[str] | None = None,
    folder: str | Path | None = None,
) -> Benchmark:
    """The benchmark called ``name``.

    Args:
        name: one of `benchmark_names()`.
        max_new_tokens: the longest answer, for every family, in place of the benchmark's own.
        questions: about one image at most, in place of the benchmark's own; of drawn documents alone.
        hub: ids of its data set, in the order in which they are tried, in place of its own.
        folder: where its fetched rows are, in place of data/benchmarks/<name>.

    Raises:
        InputError: for an unknown name, a length or a number of questions that is not positive, several questions
            where there can be one, no id, or a hub or folder for a benchmark that is not from the hub.
    """
    if name not in BENCHMARKS:
        raise InputError(f"benchmarks.{name}: unknown benchmark; use one of {', '.join(BENCHMARKS)}")
    file, _, item = BENCHMARKS[name].partition(".")
    found: Any = getattr(importlib.import_module(f"sparsemm.benchmarks.{file}"), item)
    changes: dict[str, Any] = {}
    if max_new_tokens is not None:
        if max_new_tokens < 1:
            raise InputError(
                f"benchmarks.{name}.max_new_tokens: {max_new_tokens} is not positive; use 1 or more"
            )
        changes["new_tokens"] = max_new_tokens
    if questions is not None:
        several = getattr(found, "several", None)
        if several is None:
            raise InputError(f"benchmarks.{name}.questions: they come with the data set; leave the key out")
        if questions < 1 or (questions > 1 and not several):
            can = "use 1 or more" if several else "there is one about an image; leave the key out"
            raise InputError(f"benchmarks.{name}.questions: {questions} cannot be asked; {can}")
        changes["questions"] = questions
    if hub is not None:
        changes["hub"] = (hub,) if isinstance(hub, str) else tuple(hub)
        if not changes["hub"]:
            raise InputError(f"benchmarks.{name}.hub: no id; give one or more, or leave the key out")
    if folder is not None:
        changes["folder"] = Path(folder)
    for key in ("hub", "folder"):
        if key in changes and not hasattr(found, key):
            raise InputError(
                f"benchmarks.{name}.{key}: its documents are drawn, not fetched; leave the key out"
            )
    return replace(found, **changes) if changes else found  # type: ignore[no-any-return]
