"""Less memory in a long prefill: what works on each token alone goes through a layer in chunks of tokens.

At 32K tokens the MLP's hidden activations and the float32 copies inside the norms are the largest tensors that a
prefill makes; nobody needs them for all tokens at once. Attention is not touched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.attention import text_layers
from sparsemm.errors import InputError


@contextmanager
def chunked(model: PreTrainedModel, tokens: int = 4096) -> Iterator[None]:
    """Inside, the norms and MLPs of the text layers take at most `tokens` positions at once; undone on exit.

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
    before = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = _in_chunks(module.forward, tokens)
        yield
    finally:
        for module, own in zip(modules, before):
            vars(module).pop("forward", None)
            if own is not None:
                vars(module)["forward"] = own


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
