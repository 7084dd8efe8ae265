"""The attention function registered with transformers.

The function itself decides nothing: `update` of our cache layers marks the key tensor with the layer that
owns it, and that layer does the work. Keys without a mark (another cache, or none) go to sdpa unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.layer import OWNER, Step
from sparsemm.models.text import switched

# transformers dispatches on parts of names: no sdpa, flash, flex_attention, paged| or / in this one.
NAME = "sparsemm"


def ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """[B, Hq, q, D] queries to [B, q, Hq, D] outputs, through the cache layer that owns the keys, or sdpa."""
    owner = getattr(key, OWNER, None)
    if owner is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return owner.attend(Step(module, query, key, value, attention_mask, scale, dropout)), None


def register() -> None:
    """Make the name known to transformers (again and again is fine)."""
    AttentionInterface.register(NAME, ragged_attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(**options: Any) -> torch.Tensor | None:
    """`sdpa_mask`, but none for one token that nothing is hidden from: it would be looked into on the host.

    transformers leaves that one out too, before 5.20 not while a CUDA graph is captured.
    """
    if options["q_length"] == 1 and options.get("attention_mask") is None and not options.get("local_size"):
        return None
    return sdpa_mask(**options)


@contextmanager
def ragged_attention_in(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the text model's attention is `ragged_attention`; on exit every config is exactly as it was."""
    register()
    with switched(model, NAME):
        yield
