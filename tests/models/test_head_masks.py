"""mask_heads and mask_rows: zeroed heads, by row, under any attention implementation and inside compress."""

from __future__ import annotations

import pytest
import torch

from sparsemm import SnapKV
from sparsemm.cache.attention import NAME
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress
from sparsemm.models.head_masks import mask_heads, mask_rows
from sparsemm.models.patching import attention_implementation
from sparsemm.models.text import text_layers

from helpers import tiny
from helpers.generation import generate

WINDOW = 8


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
