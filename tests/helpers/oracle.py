"""What a compressed cache must equal: dense attention in which decode steps see dropped prompt positions at -inf.

Also for tests of compress: what was kept, and everything on a model that must be restored.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from sparsemm.cache.ragged import RaggedLayer
from sparsemm.generation.prefill import capture_prefill
from sparsemm.generation.selector import token_selector
from sparsemm.models.loading import shape
from sparsemm.models.patching import attention_implementation
from sparsemm.models.text import text_layers

from helpers import tiny


def kept_masks(model, inputs, policy):
    """Positions that the policy keeps, bool [L, B, Hkv, T]."""
    kept = []
    layers = shape(model).num_layers

    def keep(seen):
        select_tokens = token_selector(policy, seen.index, layers, seen.images)
        kept.append(select_tokens(seen.query, seen.key, seen.value, seen.valid, seen.scaling))

    capture_prefill(model, inputs, keep)
    return torch.stack(kept)


def used(variant):
    """A model that has run before: transformers adds hooks of its own in the first run."""
    tiny.model(variant).generate(**tiny.inputs(), max_new_tokens=1)
    return tiny.model(variant)


def state(model) -> tuple:
    """Everything that compress could leave on a model: configs, instance variables (by identity), hooks."""
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    configs |= {id(c): c for c in (getattr(model.config, key) for key in model.config.sub_configs)}
    return (
        copy.deepcopy(model.config.to_dict()),
        {key: copy.deepcopy(vars(config)) for key, config in configs.items()},
        [{name: id(value) for name, value in vars(module).items()} for module in model.modules()],
        [
            [list(hooks) for name, hooks in vars(module).items() if name.endswith("_hooks")]
            for module in model.modules()
        ],
        model.generation_config.to_dict(),
        [type(layer).__name__ for layer in text_layers(model)],
    )


@contextmanager
def recorded():
    """List of what the cache's layers keep at prefill, in order: bool [B, Hkv, T] each."""
    kept = []
    pack = RaggedLayer.pack

    def record(self, key, value, mask, **options):
        kept.append(mask)
        pack(self, key, value, mask, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RaggedLayer, "pack", record)
        yield kept


@contextmanager
def dense_oracle(model, kept):
    """Generation inside uses dense attention; decode steps see the prompt positions outside `kept` at -inf.

    Args:
        model: The model whose text attention is replaced.
        kept: Positions kept, bool [B, Hkv, T] by layer (a list, or one tensor [L, B, Hkv, T]).
    """

    def attention(module, query, key, value, attention_mask, scaling=None, **_):
        group = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(group, 1).transpose(2, 3) * scaling
        count, total = scores.shape[2:]
        causal = torch.ones(count, total, dtype=torch.bool).tril(total - count)
        allowed = causal if attention_mask is None else attention_mask
        scores = scores.masked_fill(~allowed, float("-inf"))
        if count < total:
            dropped = ~kept[module.layer_idx].repeat_interleave(group, 1)[:, :, None]  # [B, Hq, 1, T]
            scores[..., : dropped.shape[-1]].masked_fill_(dropped, float("-inf"))
        weights = torch.softmax(scores, -1).nan_to_num()
        return (weights @ value.repeat_interleave(group, 1)).transpose(1, 2), None

    AttentionInterface.register("dense_oracle", attention)
    AttentionMaskInterface.register("dense_oracle", sdpa_mask)
    with attention_implementation(model, "dense_oracle"):
        yield
