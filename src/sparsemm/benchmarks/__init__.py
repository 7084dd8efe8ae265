"""Benchmarks by name, one file each: rows, prompt and metric. A new one is a file here and a line in registry.py.

Importing this package loads no benchmark and no torch.
"""

from __future__ import annotations

from sparsemm.benchmarks.base import Benchmark, Generation, Row, Sample
from sparsemm.benchmarks.images import EncodedImage, LazyImage, UnreadableImage
from sparsemm.benchmarks.metric import Metric, RowMetric, RunMetric, Scores, Unit
from sparsemm.benchmarks.registry import benchmark_names, get_benchmark
from sparsemm.benchmarks.scoring import score_rows, task_text

__all__ = [
    "Benchmark",
    "EncodedImage",
    "Generation",
    "LazyImage",
    "Metric",
    "Row",
    "RowMetric",
    "RunMetric",
    "Sample",
    "Scores",
    "Unit",
    "UnreadableImage",
    "benchmark_names",
    "get_benchmark",
    "score_rows",
    "task_text",
]
