"""A cache layer that computes attention itself: how the attention function finds it, and what it is given."""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# Attribute that `update` sets on the key tensor, so that the attention function finds the cache layer of the keys.
CACHE_LAYER = "sparsemm_cache_layer"


class AttentionInputs(NamedTuple):
    """What the attention of one layer gets in one forward pass; keys and values of its q new tokens only."""

    module: torch.nn.Module
    query: torch.Tensor  # [B, Hq, q, D] after RoPE
    key: torch.Tensor  # [B, Hkv, q, D] after RoPE
    value: torch.Tensor  # [B, Hkv, q, D]
    mask: torch.Tensor | None  # bool [B, 1, q, kv], True: attend; None without padding
    scaling: float
    dropout: float

    def causal_attention(self) -> torch.Tensor:
        """Causal attention among the new tokens, [B, q, Hq, D]; in a prefill these are all tokens."""
        out, _ = sdpa_attention_forward(
            self.module,
            self.query,
            self.key,
            self.value,
            self.mask,
            dropout=self.dropout,
            scaling=self.scaling,
        )
        return out


class AttendingCacheLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Base of cache layers that compute attention themselves, in `attend`, with all that transformers asks of one."""

    is_compileable = False
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: what to allocate is known after the prefill's attention."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new keys and values, marked as this layer's: the attention function gives them to `attend`."""
        setattr(key_states, CACHE_LAYER, self)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """0: rows may have unequal lengths, so callers give positions explicitly."""
        return 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def attend(self, inputs: AttentionInputs) -> torch.Tensor:
        """Attention of the new tokens, [B, q, Hq, D]; subclasses also store them."""
        return inputs.causal_attention()
