"""Less memory in a long prefill: what works on each token alone goes through a layer in chunks of tokens.

At 32K tokens the MLP's hidden activations and the float32 copies inside the norms are the largest tensors that a
prefill makes; nobody needs them for all tokens at once. Queries and keys are turned to their positions where they
lie, and the attention's output is projected where it lies: else each would be there two or three times. Attention
itself is not touched.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.models.text import text_layers

_ROTARY = "apply_rotary_pos_emb"
_CHANGING = threading.Lock()
_CHANGED: dict[
    str, tuple[int, Any]
] = {}  # by module: how many use its chunked rotary function, and the plain one


@contextmanager
def chunked(model: PreTrainedModel, tokens: int = 4096) -> Iterator[None]:
    """Inside, what works on each token alone takes at most `tokens` positions at once; undone on exit.

    That is the norms, MLPs, rotary positions and output projections of the text layers; the latter two write over what
    they are given.

    Every position's numbers are the same sums in the same order, up to what the matrix product's library does for
    another number of rows. Shorter inputs, decode steps among them, go through whole. Raises InputError for tokens
    below 1.
    """
    if tokens < 1:
        raise InputError(f"chunked: tokens is {tokens}; give 1 or more")
    modules = [
        module
        for layer in text_layers(model)
        for name in ("input_layernorm", "post_attention_layernorm", "mlp")
        if (module := getattr(layer, name, None)) is not None
    ]
    projections = [
        projection
        for layer in text_layers(model)
        if (projection := getattr(getattr(layer, "self_attn", None), "o_proj", None)) is not None
    ]
    with ExitStack() as undo:
        for module in modules:
            undo.enter_context(_replaced(module, _in_chunks(module.forward, tokens)))
        for module in projections:
            if module.in_features == module.out_features:
                undo.enter_context(_replaced(module, _in_place(module.forward, tokens)))
        undo.enter_context(_rotary(model, tokens))
        yield


@contextmanager
def _replaced(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        vars(module).pop("forward", None)
        if before is not None:
            vars(module)["forward"] = before


@contextmanager
def _rotary(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """The model's rotary function in chunks: one of its Python module, so that users of several threads are counted."""
    attention: Any = getattr(text_layers(model)[0], "self_attn", None)
    name = type(attention).__module__
    names = vars(sys.modules[name])
    if _ROTARY not in names:
        yield
        return
    with _CHANGING:
        users, plain = _CHANGED.get(name, (0, names[_ROTARY]))
        if users == 0:
            names[_ROTARY] = _turned_in_place(plain, tokens)
        _CHANGED[name] = users + 1, plain
    try:
        yield
    finally:
        with _CHANGING:
            users, plain = _CHANGED.pop(name)
            if users > 1:
                _CHANGED[name] = users - 1, plain
            else:
                names[_ROTARY] = plain


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


def _turned_in_place(plain: Callable[..., Any], tokens: int) -> Callable[..., Any]:
    @functools.wraps(plain)
    def run(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *rest: Any) -> Any:
        total = q.shape[2]  # q, k: [B, heads, T, D]; cos, sin: [B or 1, T, D]
        simple = not rest and cos.shape[-2] == total and cos.dtype == q.dtype == k.dtype
        if not simple or total <= tokens or torch.is_grad_enabled():
            return plain(q, k, cos, sin, *rest)
        for begin in range(0, total, tokens):
            part = slice(begin, begin + tokens)
            turned = plain(q[:, :, part], k[:, :, part], cos[..., part, :], sin[..., part, :])
            q[:, :, part], k[:, :, part] = turned
        return q, k

    return run
