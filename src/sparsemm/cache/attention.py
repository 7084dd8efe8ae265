"""The attention function registered with transformers.

`update` of our cache layers marks the key tensor with its cache layer, and that layer computes the attention. Keys
without a mark (another cache, or none) go to sdpa unchanged.
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

from sparsemm.cache.layer import CACHE_LAYER, AttentionInputs
from sparsemm.models.patching import attention_implementation

# transformers dispatches on parts of names: no sdpa, flash, flex_attention, paged| or / in this one.
NAME = "sparsemm"


def ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention by the cache layer that the keys are marked with, else sdpa; the signature is transformers'.

    Args:
        module: the attention module.
        query: [B, Hq, q, D] after RoPE.
        key: [B, Hkv, q, D] after RoPE; without our cache all kv keys.
        value: as `key`.
        attention_mask: bool [B, 1, q, kv], True: attend; None without padding.
        scaling: factor on the products of queries and keys; None: D ** -0.5.
        options: `dropout`, and what only sdpa reads.

    Returns:
        The outputs [B, q, Hq, D]; None in place of attention weights.
    """
    layer = getattr(key, CACHE_LAYER, None)
    if layer is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    dropout = options.get("dropout", 0.0)
    return layer.attend(AttentionInputs(module, query, key, value, attention_mask, scale, dropout)), None


def register() -> None:
    """Register the function and its mask with transformers under NAME; repeated calls are harmless."""
    AttentionInterface.register(NAME, ragged_attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(**options: Any) -> torch.Tensor | None:
    """`sdpa_mask`; None for a single token without padding, as reading that mask would synchronise with the host.

    transformers omits it too, but before 5.20 not while a CUDA graph is captured.
    """
    if options["q_length"] == 1 and options.get("attention_mask") is None and not options.get("local_size"):
        return None
    return sdpa_mask(**options)


@contextmanager
def ragged_attention_in(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the text model's attention is `ragged_attention`, which RaggedCache needs; undone exactly on exit."""
    register()
    with attention_implementation(model, NAME):
        yield
