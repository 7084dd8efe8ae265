"""Less memory in a long prefill: operations that treat every token alone run over chunks of tokens.

At 32K tokens the MLP's hidden activations and the float32 copies inside the norms are the largest tensors of a prefill;
in chunks they need only exist for some tokens at a time. RoPE and the attention's output projection overwrite their
inputs, which saves a second copy of them. Attention itself is unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.models.patching import wrapped, wrapped_rotary
from sparsemm.models.text import text_layers


@dataclass(frozen=True)
class Chunks:
    """The size of a chunk. Identifies this module's wrappers: inputs of at most `tokens` tokens pass unchanged."""

    tokens: int


@contextmanager
def chunked(model: PreTrainedModel, tokens: int = 4096) -> Iterator[None]:
    """Inside, norms, MLPs, RoPE and output projections of the text layers take at most `tokens` tokens at once.

    Every token's result is the same sum in the same order, up to what the library of matrix products does differently
    for another number of rows. Shorter inputs, decode steps among them, and passes with gradients run unchunked. RoPE
    and output projections overwrite their inputs.

    Args:
        model: a vision-language model; undone on exit.
        tokens: tokens of a chunk.

    Raises:
        InputError: for tokens below 1.
    """
    if tokens < 1:
        raise InputError(f"chunked: tokens is {tokens}; give 1 or more")
    chunks = Chunks(tokens)
    with ExitStack() as undo:
        for layer in text_layers(model):
            for name in ("input_layernorm", "post_attention_layernorm", "mlp"):
                module = getattr(layer, name, None)
                if module is not None:
                    _wrap(undo, module, _in_chunks, chunks)
            projection = getattr(getattr(layer, "self_attn", None), "o_proj", None)
            if projection is not None and projection.in_features == projection.out_features:
                _wrap(undo, projection, _in_place, chunks)
        rotary = functools.partial(_rotary_in_place, tokens=tokens)
        undo.enter_context(wrapped_rotary(model, rotary, shared=chunks))
        yield


def _wrap(undo: ExitStack, module: Any, wrap: Callable[..., Any], chunks: Chunks) -> None:
    wrap = functools.partial(wrap, tokens=chunks.tokens)
    undo.enter_context(wrapped(module, "forward", wrap, shared=chunks))


def _in_chunks(forward: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(hidden: torch.Tensor, *args: Any, **options: Any) -> Any:  # [B, T, C] -> [B, T, C]
        if hidden.dim() != 3 or hidden.shape[1] <= tokens or torch.is_grad_enabled():
            return forward(hidden, *args, **options)
        out = torch.empty_like(hidden)
        for begin in range(0, hidden.shape[1], tokens):
            part = slice(begin, begin + tokens)
            out[:, part] = forward(hidden[:, part], *args, **options)
        return out

    return run


def _in_place(forward: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(hidden: torch.Tensor) -> Any:  # [B, T, C] -> the same memory
        if hidden.dim() != 3 or hidden.shape[1] <= tokens or torch.is_grad_enabled():
            return forward(hidden)
        for begin in range(0, hidden.shape[1], tokens):
            part = slice(begin, begin + tokens)
            hidden[:, part] = forward(hidden[:, part])
        return hidden

    return run


def _rotary_in_place(plain: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    @functools.wraps(plain)
    def run(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *rest: Any) -> Any:
        total = q.shape[2]  # q, k: [B, heads, T, D]; cos, sin: [B or 1, T, D]
        simple = not rest and cos.shape[-2] == total and cos.dtype == q.dtype == k.dtype
        if not simple or total <= tokens or torch.is_grad_enabled():
            return plain(q, k, cos, sin, *rest)
        for begin in range(0, total, tokens):
            part = slice(begin, begin + tokens)
            rotated = plain(q[:, :, part], k[:, :, part], cos[..., part, :], sin[..., part, :])
            q[:, :, part], k[:, :, part] = rotated
        return q, k

    return run
