"""LLaVA-NeXT (1.6), with Llama or Mistral text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor, PreTrainedModel


class LlavaNext:
    """The stock classes. Without torchvision the processor's image part is transformers' PIL class."""

    name = "llava_next"

    def load_model(self, path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
        loaded: Any = LlavaNextForConditionalGeneration.from_pretrained(
            path, dtype=dtype, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
        model, info = loaded
        mismatched = [str(entry[0]) for entry in info["mismatched_keys"]]
        return model, sorted(info["missing_keys"]) + mismatched

    def load_processor(self, path: Path) -> Any:
        return LlavaNextProcessor.from_pretrained(path, local_files_only=True)

    def owns(self, processor: Any) -> bool:
        return isinstance(processor, LlavaNextProcessor)
