"""Qwen3-VL: patches of 16 px, interleaved M-RoPE, vision features added in early text layers."""

from __future__ import annotations

from sparsemm.families.qwen import Qwen


class Qwen3VL(Qwen):
    """The stock classes, without the video processor where torchvision is not installed."""

    name = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"
    processor_class = "Qwen3VLProcessor"
