"""The benchmarks' metrics as pure functions of strings; scores lie in 0 to 1 (CIDEr: 0 to 10)."""

from __future__ import annotations

from sparsemm.metrics.captions import cider, cider_lacks
from sparsemm.metrics.mmbench import read_option
from sparsemm.metrics.strings import (
    anls,
    contains_accuracy,
    exact_accuracy,
    ocrbench_accuracy,
    relaxed_accuracy,
)
from sparsemm.metrics.vqa import eval_ai, vqa_accuracy, vqav2_accuracy, vqav2_row_accuracy

__all__ = [
    "anls",
    "cider",
    "cider_lacks",
    "contains_accuracy",
    "eval_ai",
    "exact_accuracy",
    "ocrbench_accuracy",
    "read_option",
    "relaxed_accuracy",
    "vqa_accuracy",
    "vqav2_accuracy",
    "vqav2_row_accuracy",
]
