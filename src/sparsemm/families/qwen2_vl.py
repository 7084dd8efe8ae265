"""Qwen2-VL."""

from __future__ import annotations

from sparsemm.families.qwen import Qwen


class Qwen2VL(Qwen):
    """The stock classes, without the video processor where torchvision is not installed."""

    name = "qwen2_vl"
    model_class = "Qwen2VLForConditionalGeneration"
    processor_class = "Qwen2VLProcessor"
