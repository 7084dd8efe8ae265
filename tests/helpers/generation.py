"""Plain greedy `generate` of transformers, which compressed generation is compared with."""

from __future__ import annotations

from typing import Any

import torch

NEW = 18


def generate(
    model: Any, inputs: dict[str, torch.Tensor], new: int = NEW, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, new] and logits [new, B, V]; `options` go to `generate` and override what is set here."""
    settings: dict[str, Any] = {"max_new_tokens": new, "do_sample": False}
    settings |= {"return_dict_in_generate": True, "output_logits": True}
    with torch.no_grad():
        out = model.generate(**inputs, **(settings | options))
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits)
