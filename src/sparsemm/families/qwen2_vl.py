"""Qwen2-VL, and what the two rule sets do to its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsemm.families.chat import with_system
from sparsemm.families.images import CELL, ImageLimits, Preparation
from sparsemm.families.qwen import Qwen

_FIRST = (4 * CELL**2, 16384 * CELL**2)  # px, qwen_vl_utils' own limits
_LIMITS = {"paper": (32 * CELL**2, 16384 * CELL**2), "current": (4 * CELL**2, 768 * CELL**2)}  # px
_JPEG = {"paper": 75, "current": 85}  # 75 is Pillow's default


class Qwen2VL(Qwen):
    """The stock classes, without the video processor where torchvision is not installed."""

    name = "qwen2_vl"
    model_class = "Qwen2VLForConditionalGeneration"
    processor_class = "Qwen2VLProcessor"

    def configure(self, processor: Any, rules: str | None, text_model: str, limits: ImageLimits) -> None:
        """A system sentence in the model's own template; images through JPEG and two resizes.

        `paper` gives its limits to the processor alone, `current` to both resizes.
        """
        if rules is not None:
            least, most = _LIMITS[rules]
            least, most = limits.min_pixels or least, limits.max_pixels or most
            limits = replace(limits, min_pixels=least, max_pixels=most)
            processor.preparation = Preparation(_JPEG[rules], _FIRST if rules == "paper" else (least, most))
            processor.chat_template = with_system(processor.chat_template)
        super().configure(processor, rules, text_model, limits)

    def paper_limits(self, processor: Any) -> dict[str, Any]:
        least, most = _LIMITS["paper"]
        return {
            "min_pixels": least,
            "max_pixels": most,
            "jpeg_quality": _JPEG["paper"],
            "first_resize": _FIRST,
        }
