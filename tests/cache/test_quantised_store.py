"""Quantised storage: bounds, bytes, attention, rows, turns, and answers of the embedded model."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import FullKV, SnapKV, compress
from sparsemm.cache.ragged import RaggedCache
from sparsemm.cache.stores.codes import BLOCK, dequantise, quantise
from sparsemm.cache.stores.flat_store import FlatStore
from sparsemm.cache.stores.quantised_store import QuantisedStore
from sparsemm.cache.stores.registry import combine_stores, make_store
from sparsemm.errors import InputError

from helpers import tiny

WIDTH = 6
EMBEDDED = Path(__file__).parents[2] / "data/models/tiny-llava-next-vicuna"
LENGTHS = torch.tensor([[3, 70], [32, 1], [100, 33]])


def pair(lengths: torch.Tensor, bits: int, reserve: int = 8, seed: int = 0):
    """A quantised store, and a full-precision one of the numbers that its codes stand for."""
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, int(lengths.sum()), WIDTH, generator=generator)
    store = make_store(lengths, reserve, keys, kind=f"int{bits}")
    store.fill(keys, values)
    exact = FlatStore(lengths, reserve, keys)
    exact.fill(*stored(store))
    return store, exact, (keys, values)


def stored(store: QuantisedStore) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that the codes stand for, sequence after sequence [N, D]."""
    found = []
    for codes in (store.keys, store.values):
        tokens = dequantise(codes, store.bits).transpose(1, 2).flatten(0, 1)
        spans = zip((store.starts * BLOCK).tolist(), store.initial.tolist())
        found.append(torch.cat([tokens[start : start + length] for start, length in spans]))
    return found[0], found[1]


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from([8, 4]),
    dim=st.sampled_from([1, 2]),
    size=st.sampled_from([1e-6, 1.0, 300.0]),
    shift=st.sampled_from([0.0, 5.0]),
    held=st.integers(0, BLOCK),
)
def test_what_comes_back_is_within_the_stated_bound(bits, dim, size, shift, held):
    numbers = torch.randn(3, WIDTH, BLOCK, generator=torch.Generator().manual_seed(held)) * size + shift
    there = (torch.arange(BLOCK) < held).expand(3, BLOCK)
    codes = quantise(numbers, there, bits, dim)
    visible = there.unsqueeze(1)
    largest = numbers.abs().masked_fill(~visible, 0).amax(dim, keepdim=True)
    bound = codes.step.float() / 2 + largest / 512 + 1e-5
    error = (dequantise(codes, bits) - numbers).abs()
    assert bool((error <= bound)[visible.expand_as(error)].all())


@pytest.mark.parametrize(("bits", "atol"), [(8, 0.02), (4, 0.3)])
def test_attention_is_that_of_the_numbers_stored_and_near_full_precision(bits, atol):
    store, exact, (keys, values) = pair(LENGTHS, bits)
    full = FlatStore(LENGTHS, 8, keys)
    full.fill(keys, values)
    valid = torch.tensor([[False, True], [True, True], [True, True]])
    for turn in (None, valid, None):
        key, value = torch.randn(2, 3, 2, 2, WIDTH)
        query = torch.randn(3, 4, 2, WIDTH)
        outputs = []
        for each in (store, exact, full):
            each.append(key, value, turn)
            outputs.append(each.attend(query, 0.4))
        torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
        torch.testing.assert_close(outputs[0], outputs[2], atol=atol, rtol=0)
    assert torch.equal(store.lengths, exact.lengths)


@pytest.mark.parametrize("bits", [8, 4])
def test_bytes_are_codes_and_scales(bits):
    store, _, _ = pair(LENGTHS, bits)
    tokens, blocks = 3 + 70 + 32 + 1 + 100 + 33, 1 + 3 + 1 + 1 + 4 + 2
    codes, scales = tokens * 2 * WIDTH * bits // 8, 4 * (tokens + blocks * WIDTH)
    assert store.bytes_of(LENGTHS) == codes + scales
    places = sum(bucket.count * bucket.capacity for bucket in store.buckets)
    block = BLOCK * 2 * WIDTH * bits // 8 + 4 * (BLOCK + WIDTH)
    assert store.reserved_bytes == places * block + store.recent.reserved_bytes


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_move_without_being_quantised_again(bits, monkeypatch):
    monkeypatch.setattr("sparsemm.kernels.buckets.CALL_BYTES", {"cpu": 1, "cuda": 1})
    parts = [pair(LENGTHS, bits, seed=1), pair(LENGTHS.flip(1) + 5, bits, seed=2)]
    key, value = torch.randn(2, 3, 2, 3, WIDTH)
    for store, exact, _ in parts:
        store.append(key, value, None)
        exact.append(key, value, None)
    rows = torch.tensor([2, 0])
    made = combine_stores([(parts[0][0], rows), (parts[1][0], None)], 5)
    exact = combine_stores([(parts[0][1], rows), (parts[1][1], None)], 5)
    assert made.reserve == 5
    for _ in range(2):
        key, value = torch.randn(2, 5, 2, 1, WIDTH)
        query = torch.randn(5, 2, 1, WIDTH)
        for each in (made, exact):
            each.append(key, value, None)
        torch.testing.assert_close(made.attend(query, 0.4), exact.attend(query, 0.4), atol=1e-5, rtol=0)
    assert torch.equal(made.lengths, exact.lengths)


def test_stores_of_two_kinds_do_not_mix_and_unknown_kinds_are_refused():
    store, exact, _ = pair(LENGTHS, 8)
    with pytest.raises(InputError, match="different storage"):
        combine_stores([(store, None), (exact, None)], 1)
    with pytest.raises(InputError, match=r"storage='int3'.*int8"):
        make_store(LENGTHS, 1, torch.zeros(1, WIDTH), kind="int3")
    with pytest.raises(InputError, match="storage='int3'"), compress(tiny.model(), FullKV(), storage="int3"):
        pass


@pytest.mark.parametrize(("storage", "atol"), [("int8", 0.02), ("int4", 0.4)])
@pytest.mark.parametrize("variant", tiny.VARIANTS)
def test_compress_with_quantised_storage(variant, storage, atol):
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    policy = SnapKV(24, window=8)
    options = {
        "max_new_tokens": 6,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
        "past_key_values": None,
    }
    with compress(model, policy) as full:
        reference = model.generate(**inputs, **options)
    with compress(model, policy, storage=storage) as run:
        found = model.generate(**inputs, **options)
        cache: RaggedCache = run.cache
        sizes = [layer.store.bytes_of(layer.kept) for layer in cache.ragged]
        assert all(isinstance(layer.store, QuantisedStore) for layer in cache.ragged)
        text = torch.cat([found.sequences, found.sequences[:, -2:]], 1)  # a second turn on the same cache
        second = {"input_ids": text, "attention_mask": torch.ones_like(text)}
        second["attention_mask"][:, : inputs["attention_mask"].shape[1]] = inputs["attention_mask"]
        later = model.generate(**second, **(options | {"past_key_values": found.past_key_values}))
        assert later.sequences.shape[1] == text.shape[1] + 6
    assert torch.equal(run.kept, full.kept)
    assert run.cache_bytes == sum(sizes) < 0.75 * full.cache_bytes
    torch.testing.assert_close(found.logits[1], reference.logits[1], atol=atol, rtol=0)


def test_the_embedded_model_answers_the_same_from_int8():
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.models.loading import build_inputs, load_model

    loaded = load_model(EMBEDDED)
    for sample in itertools.islice(get_benchmark("synth-docvqa").load(3, 0), 3):
        inputs = build_inputs(loaded, [sample.image.open()], [sample.data["question"]])
        plain = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        with compress(loaded.model, FullKV(), storage="int8"):
            found = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        assert torch.equal(found, plain)
