"""The benchmarks' metrics as pure functions of strings; scores lie in 0 to 1 (CIDEr: 0 to 10)."""

from __future__ import annotations

from sparsemm.metrics.captions import cider
from sparsemm.metrics.strings import anls, contains_accuracy, relaxed_accuracy
from sparsemm.metrics.vqa import eval_ai, vqa_accuracy, vqav2_accuracy

__all__ = [
    "anls",
    "cider",
    "contains_accuracy",
    "eval_ai",
    "relaxed_accuracy",
    "vqa_accuracy",
    "vqav2_accuracy",
]
