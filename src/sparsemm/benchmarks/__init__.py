"""Benchmarks by name: three synthetic ones that need no files, eight hub ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsemm.benchmarks.base import Benchmark, Sample
from sparsemm.benchmarks.hub import HUB_BENCHMARKS, HubBenchmark
from sparsemm.benchmarks.synthetic import SynthChart, SynthDocVQA, SynthOCR
from sparsemm.errors import InputError

__all__ = ["Benchmark", "HubBenchmark", "Sample", "benchmark_names", "get_benchmark"]

_REGISTRY: dict[str, Any] = {b.name: b for b in (SynthDocVQA(), SynthOCR(), SynthChart(), *HUB_BENCHMARKS)}


def benchmark_names() -> list[str]:
    """Every known name, synthetic ones first."""
    return list(_REGISTRY)


def get_benchmark(name: str, *, max_new_tokens: int | None = None) -> Benchmark:
    """The benchmark called ``name``, with its answer length changed if ``max_new_tokens`` is given.

    Raises:
        InputError: for an unknown name or a length that is not positive.
    """
    if name not in _REGISTRY:
        raise InputError(f"benchmarks.{name}: unknown benchmark; use one of {', '.join(_REGISTRY)}")
    if max_new_tokens is None:
        return _REGISTRY[name]  # type: ignore[no-any-return]
    if max_new_tokens < 1:
        raise InputError(f"benchmarks.{name}.max_new_tokens: {max_new_tokens} is not positive; use 1 or more")
    return replace(_REGISTRY[name], max_new_tokens=max_new_tokens)  # type: ignore[no-any-return]
