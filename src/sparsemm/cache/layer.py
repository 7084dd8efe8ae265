"""A cache layer that does its own attention: how the attention function finds it, and what it is then given."""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# Set on the key tensor that `update` returns: so the attention function finds the layer it belongs to.
OWNER = "sparsemm_owner"


class Step(NamedTuple):
    """One layer's attention in one forward pass, new tokens only: q of them."""

    module: torch.nn.Module
    query: torch.Tensor  # [B, Hq, q, D] after RoPE
    key: torch.Tensor  # [B, Hkv, q, D] after RoPE
    value: torch.Tensor  # [B, Hkv, q, D]
    mask: torch.Tensor | None  # bool [B, 1, q, kv], True: attend; None without padding
    scaling: float
    dropout: float

    def among_themselves(self) -> torch.Tensor:
        """Plain causal attention of the new tokens, [B, q, Hq, D]: the whole of it in a prefill."""
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


class OwnedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """What transformers asks of a cache layer, where all work is done by `attend`."""

    is_compileable = False
    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to make before it is known what is kept."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hand the new keys and values on, marked: the attention function gives them to `attend`."""
        setattr(key_states, OWNER, self)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """0 where rows have unequal lengths: positions are then given explicitly."""
        return 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    def attend(self, step: Step) -> torch.Tensor:
        """Take the new tokens and give their attention, [B, q, Hq, D]. Each kind of layer has its own."""
        return step.among_themselves()
