"""The benchmarks' names, and the file of each, which is imported when its benchmark is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sparsemm.benchmarks.base import Benchmark
from sparsemm.errors import InputError

# Name -> `file.OBJECT` under sparsemm/benchmarks/. A new benchmark is one file there and one line here.
BENCHMARKS: Mapping[str, str] = {
    "synth-docvqa": "synth_docvqa.SYNTH_DOCVQA",
    "synth-ocr": "synth_ocr.SYNTH_OCR",
    "synth-chart": "synth_chart.SYNTH_CHART",
    "docvqa": "hub.DOCVQA",
    "ocrbench": "hub.OCRBENCH",
    "textvqa": "hub.TEXTVQA",
    "chartqa": "hub.CHARTQA",
    "textcaps": "hub.TEXTCAPS",
    "mmbench": "hub.MMBENCH",
    "gqa": "hub.GQA",
    "vqav2": "hub.VQAV2",
}


def benchmark_names() -> list[str]:
    """Every known name, synthetic ones first."""
    return list(BENCHMARKS)


def get_benchmark(name: str, *, max_new_tokens: int | None = None) -> Benchmark:
    """The benchmark called ``name``, with its answer length changed if ``max_new_tokens`` is given.

    Raises:
        InputError: for an unknown name or a length that is not positive.
    """
    if name not in BENCHMARKS:
        raise InputError(f"benchmarks.{name}: unknown benchmark; use one of {', '.join(BENCHMARKS)}")
    file, _, item = BENCHMARKS[name].partition(".")
    found: Any = getattr(importlib.import_module(f"sparsemm.benchmarks.{file}"), item)
    if max_new_tokens is None:
        return found  # type: ignore[no-any-return]
    if max_new_tokens < 1:
        raise InputError(f"benchmarks.{name}.max_new_tokens: {max_new_tokens} is not positive; use 1 or more")
    return replace(found, max_new_tokens=max_new_tokens)  # type: ignore[no-any-return]
