"""compress and mask_heads around plain `generate`, against dense attention with dropped positions at -inf."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from transformers import AttentionInterface, DynamicCache
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from sparsemm import AdaKV, FullKV, PyramidKV, SnapKV, SparseMM
from sparsemm.attention import NAME, capture_prefill, switched, text_layers
from sparsemm.cache import RaggedCache
from sparsemm.compress import chooser, compress, mask_heads, mask_rows
from sparsemm.errors import InputError
from sparsemm.models import shape

import tiny

NEW = 18
WINDOW = 8
BATCHES = {"one": None, "padded": tiny.UNEQUAL}


def policies(heads: int) -> list:
    """One of each method at a small budget; SparseMM's scores are as unequal as real ones."""
    scores = (
        torch.rand(tiny.LAYERS, heads, generator=torch.Generator().manual_seed(3), dtype=torch.float64) ** 4
    )
    scores /= scores.sum()
    size = {"budget": 24, "window": WINDOW}
    return [SnapKV(**size), PyramidKV(**size), AdaKV(**size), SparseMM(scores.numpy(), **size)]


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

    def keep(seen):
        choose = chooser(policy, seen.index, tiny.LAYERS)
        kept.append(choose(seen.query, seen.key, seen.valid, seen.scaling))

    capture_prefill(model, inputs, keep)
    return torch.stack(kept)


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
    with switched(model, "dense_oracle"):
        yield


@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_unlimited_budget_is_plain_generate(variant, sizes):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    tokens, logits = generate(model, inputs)
    with compress(model, FullKV()) as run:
        ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    real = inputs["attention_mask"].sum(-1)
    assert torch.equal(run.kept, real[None, :, None].expand(run.kept.shape))


@pytest.mark.parametrize("index", range(4), ids=["snapkv", "pyramidkv", "adakv", "sparsemm"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_limited_budget_is_dense_attention_with_drops(variant, sizes, index):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    heads = shape(model).num_kv_heads
    policy = policies(heads)[index]
    kept = kept_masks(model, inputs, policy)
    assert not (kept & (inputs["attention_mask"] == 0)[None, :, None]).any()
    with dense_oracle(model, kept):
        tokens, logits = generate(model, inputs)
    with compress(model, policy) as run:
        ours, our_logits = generate(model, inputs)
    assert torch.equal(ours, tokens)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    assert torch.equal(run.kept, kept.sum(-1))
    assert run.kept.dtype == torch.int64
    assert run.kept.float().mean() < 30
    assert run.cache_bytes == int(run.kept.sum()) * 2 * tiny.HEAD_DIM * 4
    full = int(inputs["attention_mask"].sum()) * tiny.LAYERS * heads * 2 * tiny.HEAD_DIM * 4
    assert run.cache_bytes < 0.4 * full


@pytest.mark.parametrize("index", range(4), ids=["snapkv", "pyramidkv", "adakv", "sparsemm"])
def test_padded_row_is_its_own_run(variant, index):
    model = tiny.model(variant)
    policy = policies(shape(model).num_kv_heads)[index]
    batch = tiny.inputs(tiny.UNEQUAL)
    with compress(model, policy) as run:
        tokens, logits = generate(model, batch)
        together = run.kept
        for row in range(len(tiny.UNEQUAL)):
            real = batch["attention_mask"][row].bool()
            single = {
                "input_ids": batch["input_ids"][row : row + 1, real],
                "attention_mask": torch.ones(1, int(real.sum()), dtype=torch.long),
                "pixel_values": batch["pixel_values"][row : row + 1],
                "image_sizes": batch["image_sizes"][row : row + 1],
            }
            own, own_logits = generate(model, single)
            assert torch.equal(own[0], tokens[row])
            assert torch.equal(run.kept[:, 0], together[:, row])
            torch.testing.assert_close(own_logits[:, 0], logits[:, row], atol=1e-5, rtol=0)


def test_budget_above_the_prompt_keeps_everything(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    tokens, _ = generate(model, inputs)
    with compress(model, SnapKV(budget=4096, window=WINDOW)) as run:
        ours, _ = generate(model, inputs)
    assert torch.equal(ours, tokens)
    assert (run.kept == inputs["input_ids"].shape[1]).all()


def test_window_longer_than_the_prompt(variant):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    tokens, _ = generate(model, inputs)
    with compress(model, SnapKV(budget=500, window=400)) as run:
        ours, _ = generate(model, inputs)
    assert torch.equal(ours, tokens)
    assert torch.equal(run.kept[0, :, 0], inputs["attention_mask"].sum(-1))


@pytest.mark.parametrize("policy", [FullKV(), SnapKV(budget=24, window=WINDOW)], ids=["fullkv", "snapkv"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_later_turns(variant, policy, sizes):
    """A second turn appends several tokens at once, without another prefill."""
    model, inputs = tiny.model(variant), tiny.inputs(sizes)

    def two_turns():
        first = model.generate(**inputs, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
        rows = inputs["input_ids"].shape[0]
        more = torch.tensor([[30, 41, 52, 63]]).expand(rows, -1)
        ids = torch.cat([first.sequences, more], 1)
        mask = torch.cat([inputs["attention_mask"], inputs["attention_mask"].new_ones(rows, 9)], 1)
        return model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=first.past_key_values,
            max_new_tokens=6,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )

    with compress(model, policy) as run:
        ours = two_turns()
        assert run.cache.get_seq_length() == inputs["input_ids"].shape[1] + 5 + 4 + 6 - 1
        lengths = run.cache.layers[0].store.lengths
        assert torch.equal(lengths - run.kept[0], torch.full_like(lengths, 5 + 4 + 6 - 1))
    with dense_oracle(model, kept_masks(model, inputs, policy)):
        plain = two_turns()
    assert torch.equal(ours.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(ours.logits), torch.stack(plain.logits), atol=1e-5, rtol=0)


def test_sampling_and_several_sequences(variant):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    options = {"do_sample": True, "num_return_sequences": 2, "max_new_tokens": 6}
    torch.manual_seed(5)
    plain, _ = generate(model, inputs, **options)
    torch.manual_seed(5)
    with compress(model, FullKV()) as run:
        ours, _ = generate(model, inputs, **options)
    assert torch.equal(ours, plain)
    assert run.kept.shape == (tiny.LAYERS, 6, shape(model).num_kv_heads)


def state(model) -> tuple:
    """Everything compress could leave behind."""
    configs = [model.config, model.config.text_config, model.config.vision_config]
    return (
        [config._attn_implementation for config in configs],
        sorted(vars(model)),
        [sorted(vars(module)) for module in model.modules()],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        model.generation_config.to_dict(),
        [type(layer).__name__ for layer in text_layers(model)],
    )


def test_undone_on_exit_and_after_an_exception(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    before = state(model)
    plain, _ = generate(model, inputs)
    with compress(model, SnapKV(budget=24, window=WINDOW)) as run, mask_heads(model, [(0, 1)]):
        generate(model, inputs)
        assert state(model) != before
    assert state(model) == before
    kept = run.kept
    with pytest.raises(KeyError), compress(model, FullKV()), mask_heads(model, [(1, 0)]):
        raise KeyError("stop")
    assert state(model) == before
    assert torch.equal(generate(model, inputs)[0], plain)
    assert torch.equal(run.kept, kept)
    assert run.cache is None


def test_what_cannot_work_says_so(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    before = state(model)
    policy = SnapKV(budget=24, window=WINDOW)
    refused = {
        "beam": {"num_beams": 2},
        "assisted": {"prompt_lookup_num_tokens": 2},
        "cache_implementation": {"cache_implementation": "static"},
        "prefill_chunk_size": {"prefill_chunk_size": 16},
        "use_cache": {"use_cache": False},
    }
    with compress(model, policy) as run:
        for word, options in refused.items():
            with pytest.raises(InputError, match=word):
                model.generate(**inputs, max_new_tokens=2, **options)
        with pytest.raises(InputError, match="outside"):
            model.generate(**inputs, max_new_tokens=2, past_key_values=DynamicCache())
        with pytest.raises(InputError, match="inside"), compress(model, policy):
            pass
        with pytest.raises(InputError, match="nothing was generated"):
            _ = run.kept
    assert state(model) == before


def test_other_models_scores_and_sliding_windows():
    model = tiny.model("gqa")
    scores = torch.full((tiny.LAYERS, 5), 1 / (tiny.LAYERS * 5), dtype=torch.float64).numpy()
    with pytest.raises(InputError, match="scores of shape"), compress(model, SparseMM(scores, 24, window=8)):
        pass
    text = model.config.text_config
    text.sliding_window = 16
    try:
        with pytest.raises(InputError, match="sliding"), compress(model, FullKV()):
            pass
    finally:
        text.sliding_window = None


def test_cache_of_a_left_compress_is_refused(variant):
    model, inputs = tiny.model(variant), tiny.inputs()
    with compress(model, FullKV()) as run:
        model.generate(**inputs, max_new_tokens=2)
        cache = run.cache
    ids = torch.cat([inputs["input_ids"], torch.ones(1, 2, dtype=torch.long)], 1)
    with pytest.raises(InputError, match="inside compress"):
        model.generate(input_ids=ids, past_key_values=cache, max_new_tokens=2)
    assert isinstance(cache, RaggedCache)


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

    with switched(model, implementation):
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
