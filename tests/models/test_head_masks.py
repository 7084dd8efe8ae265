"""mask_heads and mask_rows: zeroed outputs or queries, by row, under any attention implementation and in compress."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from sparsemm import SnapKV
from sparsemm.cache.attention import NAME, register
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress
from sparsemm.models.head_masks import mask_heads, mask_rows
from sparsemm.models.loading import build_inputs
from sparsemm.models.patching import attention_implementation
from sparsemm.models.text import text_layers

from helpers import tiny
from helpers.generation import generate
from helpers.tiny_families import tiny_family

WINDOW = 8
register()  # `NAME` is an implementation that transformers knows


@pytest.mark.parametrize("implementation", ["eager", "sdpa", NAME])
def test_masked_heads_are_zeroed_o_proj_inputs(variant, implementation):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    heads = [(0, 2), (2, 0), (2, 5)]

    def reference(layer):
        def zero(module, args):
            hidden = args[0].clone()
            for at, head in heads:
                if at == layer:
                    hidden[..., head * tiny.HEAD_DIM : (head + 1) * tiny.HEAD_DIM] = 0
            return (hidden,)

        return zero

    with attention_implementation(model, implementation):
        plain, _ = generate(model, inputs)
        hooks = [
            layer.self_attn.o_proj.register_forward_pre_hook(reference(index))
            for index, layer in enumerate(text_layers(model))
        ]
        tokens, logits = generate(model, inputs)
        for hook in hooks:
            hook.remove()
        with mask_heads(model, heads):
            ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    assert torch.equal(our_logits, logits)
    assert not torch.equal(ours, plain)


def test_masks_differ_by_row_and_work_with_compress(variant):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    mask = torch.zeros(3, tiny.LAYERS, tiny.HEADS, dtype=torch.bool)
    mask[1, 1, 3] = mask[2, 0, 0] = True
    policy = SnapKV(budget=24, window=WINDOW)
    with compress(model, policy):
        with mask_rows(model, mask):
            together, _ = generate(model, inputs)
        for row, heads in enumerate([[], [(1, 3)], [(0, 0)]]):
            with mask_heads(model, heads):
                alone, _ = generate(model, inputs)
            assert torch.equal(alone[row], together[row])


def test_bad_heads(variant):
    model = tiny.model(variant)
    for heads in ([(3, 0)], [(0, 6)], [(-1, 0)], [(0,)], ["ab"]):
        with pytest.raises(InputError), mask_heads(model, heads):
            pass
    with pytest.raises(InputError), mask_rows(model, torch.zeros(1, 2, 6, dtype=torch.bool)):
        pass


def uniform_attention(module, query, key, value, attention_mask, scaling=None, **options):
    """Eager attention in which the masked heads weigh all keys that they see alike."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    logits = query @ key.mT * scaling
    count, total = logits.shape[-2:]
    seen = torch.ones(count, total, dtype=torch.bool).tril(total - count)
    if attention_mask is not None:
        seen = seen & attention_mask[:, :, :, :total]
    weights = logits.masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num(0.0)  # a pad sees nothing
    even = (seen / seen.sum(-1, keepdim=True).clamp(min=1)).expand_as(weights)
    for layer, head in MASKED:
        if layer == module.layer_idx:
            weights = weights.index_copy(1, torch.tensor([head]), even[:, head : head + 1])
    return (weights @ value).transpose(1, 2), None


MASKED = [(0, 1), (1, 0), (1, 3)]


def hook_count(model: Any) -> int:
    """Forward hooks on all parts of the text layers."""
    return sum(len(part._forward_hooks) for layer in text_layers(model) for part in layer.modules())


@pytest.mark.parametrize("name", ["llava_next-llama", "llava_next-mistral", "qwen2_vl", "qwen3_vl"])
def test_released_masks_make_a_head_average_what_it_sees(name):
    """At prefill and decode, in a padded batch; Qwen2's query projection has a bias, Qwen3 norms its queries."""
    model, processor = tiny_family(name)
    pictures = [tiny.image(60, 40), tiny.image(100, 64, seed=1)]
    inputs = build_inputs(processor, pictures, ["Read it."] * 2)
    AttentionInterface.register("uniform", uniform_attention)
    AttentionMaskInterface.register("uniform", sdpa_mask)
    with attention_implementation(model, "uniform"):
        tokens, logits = generate(model, inputs)
    for implementation in ("eager", "sdpa", NAME):
        with attention_implementation(model, implementation):
            _, plain_logits = generate(model, inputs)
            with mask_heads(model, MASKED, how="released"):
                ours, our_logits = generate(model, inputs)
        assert torch.equal(ours, tokens)
        torch.testing.assert_close(our_logits, logits, rtol=0, atol=2e-5)
        assert not torch.allclose(our_logits, plain_logits, atol=1e-3)


def test_released_masks_zero_the_queries_of_one_row(variant):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    before = hook_count(model)  # transformers leaves hooks of its own on a model that recorded attention
    mask = torch.zeros(3, tiny.LAYERS, tiny.HEADS, dtype=torch.bool)
    mask[1, 1, 3] = mask[2, 0, 0] = True
    with mask_rows(model, mask, how="released"):
        together, _ = generate(model, inputs)
    for row, heads in enumerate([[], [(1, 3)], [(0, 0)]]):
        with mask_heads(model, heads, how="released"):
            alone, _ = generate(model, inputs)
        assert torch.equal(alone[row], together[row])
    assert hook_count(model) == before


def test_an_unknown_way_to_mask_is_refused(variant):
    said = r"masking\.how: 'mean' is unknown; use output or released"
    with pytest.raises(InputError, match=said), mask_heads(tiny.model(variant), [(0, 0)], how="mean"):
        pass
