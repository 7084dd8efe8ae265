"""Logits of the Triton store, plain and fused, against the float32 model with the torch store, beside that in bfloat16.

Tolerance: each may be as far from float32 as 1.5 times what the torch store is in the same dtype; all round the same
weights and activations, only the order of the sums differs.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from gpu_models import build_model, build_prompt

from sparsemm import FullKV
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache
from sparsemm.generation.fusing import Fusion, fusions
from sparsemm.generation.selector import token_selector
from sparsemm.models.loading import shape

_STEPS = 8
ALLOWED = 1.5


@torch.no_grad()
def compare_logits(name: str, tokens: int, settings: Any) -> dict[str, Any]:
    """Largest differences of the logits of decode steps fed with the same tokens, full cache, one row."""
    model: Any = build_model(
        name, torch.device(settings.device), getattr(torch, settings.dtype), tiny=settings.tiny
    )
    prompt = {key: tensor.to(model.device) for key, tensor in build_prompt(model, tokens)[0].items()}
    found = {"torch": _logits(model, prompt, "torch")}
    if settings.triton:
        found["triton"] = _logits(model, prompt, "triton")
        found |= {fusion.__name__: _logits(model, prompt, "triton", fusion) for fusion in fusions(model, 1)}
    model.float()
    prompt = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in prompt.items()}
    reference = _logits(model, prompt, "torch")
    row: dict[str, Any] = {"model": name, "tokens": tokens, "steps": _STEPS, "dtype": settings.dtype}
    row["logits_std"] = float(reference.std())
    errors = {label: float((each - reference).abs().max()) for label, each in found.items()}
    row |= {f"{label}_max_error": error for label, error in errors.items()}
    if settings.triton:
        row["within_tolerance"] = max(errors.values()) <= ALLOWED * errors["torch"] + 1e-5
    return row


def _logits(
    model: Any, prompt: dict[str, torch.Tensor], storage: str, fusion: Fusion | None = None
) -> torch.Tensor:
    """Float32 logits [steps, V]."""
    layers = shape(model).num_layers
    selectors = [token_selector(FullKV(), layer, layers) for layer in range(layers)]
    cache = RaggedCache(layers, selectors, reserve=_STEPS, storage=storage)
    outs = []
    with ragged_attention_in(model):
        model(**prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
        at = cache.get_seq_length()
        with fusion(model) if fusion else nullcontext():
            for step in range(_STEPS):
                token = torch.tensor([[10 + step]], device=model.device)
                place = torch.full_like(token, at + step)
                out = model.get_decoder()(
                    input_ids=token, position_ids=place, past_key_values=cache, use_cache=True
                ).last_hidden_state
                outs.append(model.get_output_embeddings()(out)[0, -1].float())
    return torch.stack(outs)
