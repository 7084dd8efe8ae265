"""fused_layers(model): while it is open, a decoder layer's one-row step is four matrix products and our attention.

It replaces the forward of whole layers, so it knows their structure: that of Llama and of those built like it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache.attention import ragged_attention
from sparsemm.generation.fusing.modules import fused
from sparsemm.models.text import text_layers

_LAYERS = ("Llama", "Mistral", "Qwen2", "Qwen2VL", "Qwen2_5_VL")  # their forwards are the same

_CAPTURING = "transformers.utils.output_capturing"


def fits(model: PreTrainedModel) -> bool:
    """Whether every text layer is one that is known, unchanged, on one device in one dtype."""
    return all(_fits(layer) for layer in text_layers(model))


@contextmanager
def fused_layers(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the layers of a model that `fits` take one token of one row in six launches each; undone on exit.

    What is outside of the layers is fused as by `fused`. Needs triton. For one thread, like that.
    """
    layers = text_layers(model)
    with fused(model):
        try:
            for layer in layers:
                vars(layer)["forward"] = _step(layer)
            yield
        finally:
            for layer in layers:
                vars(layer).pop("forward", None)


def _fits(layer: Any) -> bool:
    if type(layer).__name__ not in [f"{name}DecoderLayer" for name in _LAYERS]:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    inner = (attention.q_proj, attention.k_proj, attention.v_proj)
    plain = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    if any(_changed(part) for part in layer.modules()):
        return False
    if any(type(part) is not torch.nn.Linear for part in (*inner, *plain)):
        return False
    if any(part.bias is not None for part in plain) or len({part.bias is None for part in inner}) > 1:
        return False
    if type(mlp.act_fn).__name__ not in ("SiLU", "SiLUActivation"):
        return False
    weights = list(layer.parameters())
    same = len({(weight.dtype, weight.device) for weight in weights}) == 1
    return same and all(weight.is_contiguous() for weight in weights)


def _changed(part: torch.nn.Module) -> bool:
    hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
    # transformers leaves the hooks of `output_attentions` behind: they do nothing until outputs are asked for again.
    others = [hook for hook in hooks if getattr(hook, "__module__", "") != _CAPTURING]
    return "forward" in vars(part) or bool(others)


def _step(layer: Any) -> Callable[..., torch.Tensor]:
    from sparsemm.kernels.triton_gemv import add, gate, project

    plain = layer.forward
    attention, mlp = layer.self_attn, layer.mlp
    before, after = layer.input_layernorm, layer.post_attention_layernorm
    linears: Any = tuple(
        (part.weight, part.bias) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )

    def forward(
        hidden: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        past_key_values: Any,
        **rest: Any,
    ) -> torch.Tensor:
        cos, sin = (part.reshape(-1) for part in position_embeddings)
        if hidden.shape[:-1] != (1, 1) or len(cos) != attention.head_dim or cos.dtype != hidden.dtype:
            rest |= {"position_embeddings": position_embeddings, "past_key_values": past_key_values}
            out: torch.Tensor = plain(hidden, attention_mask, **rest)
            return out
        flat = hidden.reshape(-1)
        query, key, value = project(flat, before.weight, before.variance_epsilon, linears, cos, sin)
        key, value = past_key_values.update(key, value, attention.layer_idx)
        mixed, _ = ragged_attention(attention, query, key, value, attention_mask, scaling=attention.scaling)
        flat = add(mixed.reshape(-1), attention.o_proj.weight, flat)
        inner = gate(flat, after.weight, after.variance_epsilon, mlp.gate_proj.weight, mlp.up_proj.weight)
        return add(inner, mlp.down_proj.weight, flat).view(hidden.shape)

    return forward
