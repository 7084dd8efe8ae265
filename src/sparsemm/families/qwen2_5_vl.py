"""Qwen2.5-VL: window attention in its vision tower, the same image tokens as Qwen2-VL."""

from __future__ import annotations

from sparsemm.families.qwen import Qwen


class Qwen25VL(Qwen):
    """The stock classes, without the video processor where torchvision is not installed."""

    name = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"
    processor_class = "Qwen2_5_VLProcessor"
