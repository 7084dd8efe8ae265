"""Dense attention in which, after the prefill, dropped prompt positions are at -inf: what decode must equal.

And what else tests of compress need: generation with logits, what was kept, everything that must be undone.
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

NEW = 18


def generate(model, inputs, **options):
    """Greedy tokens [B, new] and logits [new, B, V]."""
    settings = {
        "max_new_tokens": NEW,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    out = model.generate(**inputs, **(settings | options))
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits)


def kept_masks(model, inputs, policy):
    """What the policy keeps, bool [L, B, Hkv, T]."""
    kept = []
    layers = shape(model).num_layers

    def keep(seen):
        select_tokens = token_selector(policy, seen.index, layers)
        kept.append(select_tokens(seen.query, seen.key, seen.valid, seen.scaling))

    capture_prefill(model, inputs, keep)
    return torch.stack(kept)


def used(variant):
    """A model that has run before: the first run leaves hooks of transformers' own."""
    tiny.model(variant).generate(**tiny.inputs(), max_new_tokens=1)
    return tiny.model(variant)


def state(model) -> tuple:
    """Everything compress could leave behind: configs, instance variables (by identity), hooks."""
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
    """What the layers of caches keep at prefill, in order: bool [B, Hkv, T] each."""
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
    """Plain generation that, after the prefill, sees dropped prompt positions at -inf (eager attention)."""

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
