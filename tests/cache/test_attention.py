"""The attention function: dispatch, restoring every config, prefill capture and an explicit decode loop."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache
from transformers.masking_utils import AttentionMaskInterface

from sparsemm.cache.attention import NAME, ragged_attention_in, register
from sparsemm.cache.ragged import RaggedCache
from sparsemm.generation.prefill import capture_prefill, decode_step
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers

from helpers import tiny
from helpers.generation import generate


def test_switched_restores_every_config(variant):
    model = tiny.model(variant)
    before = {
        id(c): dict(vars(c)) for c in (model.config, model.config.text_config, model.config.vision_config)
    }
    with ragged_attention_in(model):
        assert model.config.text_config._attn_implementation == NAME
        assert model.config.vision_config._attn_implementation == "sdpa"
    with pytest.raises(KeyError), ragged_attention_in(model):
        raise KeyError
    configs = (model.config, model.config.text_config, model.config.vision_config)
    assert all(vars(config) == before[id(config)] for config in configs)


def test_name_is_safe_and_registering_repeats(variant):
    register(), register()
    assert not any(part in NAME for part in ("sdpa", "flash", "flex_attention", "paged|", "/"))
    assert len(text_layers(tiny.model(variant))) == tiny.LAYERS


def test_a_mask_is_made_where_something_is_hidden(monkeypatch):
    """Older transformers make one for every token while a graph is captured, and it would be read on the host."""
    register()
    make = AttentionMaskInterface()[NAME]
    one = {"batch_size": 1, "q_length": 1, "kv_length": 5, "q_offset": 4, "kv_offset": 0}
    with monkeypatch.context() as patch:
        patch.setattr("sparsemm.cache.attention.sdpa_mask", lambda **options: "made")
        assert make(**one) is None
        assert make(**one | {"q_length": 2}) == "made"
    assert make(**one, attention_mask=torch.tensor([[False, True, True, True, True]])) is not None
    assert make(**one, local_size=3) is not None
    assert make(**one | {"q_length": 2, "q_offset": 3}).shape == (1, 1, 2, 5)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=["dynamic", "no cache"])
def test_other_caches_fall_through_to_sdpa(variant, options):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    expected = model.generate(**inputs, max_new_tokens=5, do_sample=False, **options)
    with ragged_attention_in(model):
        assert torch.equal(model.generate(**inputs, max_new_tokens=5, do_sample=False, **options), expected)


@pytest.mark.parametrize("sizes", [None, tiny.UNEQUAL], ids=["one", "padded"])
def test_capture_gives_full_keys_in_layer_order(variant, sizes):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    cache = DynamicCache(config=model.config.get_text_config())
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        out = model(**inputs, position_ids=positions, past_key_values=cache)
    seen = []
    got = capture_prefill(model, inputs, seen.append)
    real = mask.bool()
    torch.testing.assert_close(got.logits, out.logits[:, -1], atol=1e-5, rtol=0)
    assert torch.equal(got.next_position, mask.sum(-1))
    assert [layer.index for layer in seen] == list(range(tiny.LAYERS))
    for layer, stored in zip(seen, cache.layers):
        assert layer.query.shape[1] == tiny.HEADS
        assert layer.scaling == pytest.approx(tiny.HEAD_DIM**-0.5)
        assert layer.valid is None if sizes is None else torch.equal(layer.valid, real)
        where = real[:, None].expand(stored.keys.shape[:3])
        torch.testing.assert_close(layer.key[where], stored.keys[where], atol=1e-5, rtol=0)
        torch.testing.assert_close(layer.value[where], stored.values[where], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", [None, tiny.UNEQUAL], ids=["one", "padded"])
def test_a_loop_by_hand_over_packed_rows_is_plain_generate(variant, sizes):
    """Two rows a sample, both with everything kept."""
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    tokens, logits = generate(model, inputs, 10)
    batch, total = inputs["input_ids"].shape
    rows = torch.arange(batch).repeat(2)
    cache = RaggedCache(tiny.LAYERS, reserve=9, seen=total)

    def keep(layer):
        valid = layer.key.new_ones(batch, total, dtype=torch.bool) if layer.valid is None else layer.valid
        kept = valid[rows, None].expand(-1, shape(model).num_kv_heads, -1)
        cache.layers[layer.index].pack(layer.key, layer.value, kept, source=rows)

    start = capture_prefill(model, inputs, keep)
    token, position = start.logits.argmax(-1)[rows], start.next_position[rows]
    ours = [token]
    with ragged_attention_in(model):
        for step in range(1, 10):
            scores = decode_step(model, token, position, cache)
            torch.testing.assert_close(scores, logits[step, rows], atol=1e-5, rtol=0)
            token, position = scores.argmax(-1), position + 1
            ours.append(token)
    assert torch.equal(torch.stack(ours, 1), tokens[rows])
