"""fused_layers(model): inside, a decoder layer's one-row decode step is four fused matrix products and our attention.

It replaces the forward of whole decoder layers, so it supports only those built like Llama's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache.attention import ragged_attention
from sparsemm.generation.chunking import Chunks
from sparsemm.generation.fusing.modules import fused
from sparsemm.models.patching import is_changed, wrapped
from sparsemm.models.text import text_layers

_LAYERS = ("Llama", "Mistral", "Qwen2", "Qwen2VL", "Qwen2_5_VL")  # their forwards are the same

_CAPTURING = "transformers.utils.output_capturing"


def can_fuse_layers(model: PreTrainedModel) -> bool:
    """Whether every text layer is of a known class, unmodified, on one device and in one dtype."""
    return all(_can_fuse(layer) for layer in text_layers(model))


@contextmanager
def fused_layers(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a decode step of one row takes six launches a layer; undone on exit.

    Everything outside of the layers is fused as by `fused`. Needs triton. For one thread, as `fused` is.

    Args:
        model: one for which `can_fuse_layers` is true.
    """
    with ExitStack() as undo:
        undo.enter_context(fused(model))
        for layer in text_layers(model):
            undo.enter_context(
                wrapped(layer, "forward", functools.partial(_fused_forward, layer), shared="fused layers")
            )
        yield


def _can_fuse(layer: Any) -> bool:
    if type(layer).__name__ not in [f"{name}DecoderLayer" for name in _LAYERS]:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    inner = (attention.q_proj, attention.k_proj, attention.v_proj)
    plain = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    if any(_modified(part) for part in layer.modules()):
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


def _modified(part: torch.nn.Module) -> bool:
    """Whether a hook or another forward changes what the module does to one token."""
    hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
    # transformers leaves the hooks of `output_attentions` behind: they do nothing until outputs are asked for again.
    others = [hook for hook in hooks if getattr(hook, "__module__", "") != _CAPTURING]
    # Chunking, which is in force inside `compress`, passes single tokens on unchanged.
    return is_changed(part, "forward", but=Chunks) or bool(others)


def _fused_forward(layer: Any, plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    from sparsemm.kernels.triton_gemv import add, gate, project

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
        query, key, value = project(flat, before.weight, before.variance_epsilon, linears, (cos, sin))
        key, value = past_key_values.update(key, value, attention.layer_idx)
        mixed, _ = ragged_attention(attention, query, key, value, attention_mask, scaling=attention.scaling)
        flat = add(mixed.reshape(-1), attention.o_proj.weight, flat)
        inner = gate(flat, after.weight, after.variance_epsilon, mlp.gate_proj.weight, mlp.up_proj.weight)
        return add(inner, mlp.down_proj.weight, flat).view(hidden.shape)

    return forward
