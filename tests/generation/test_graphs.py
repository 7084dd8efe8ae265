"""Decode steps shaped for a CUDA graph: the same step, run without capture on a CPU, gives eager generate's tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsemm import AdaKV, FullKV, SnapKV, SparseMM
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache
from sparsemm.cache.stores import registry as stores
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress
from sparsemm.generation.graphs import GraphStep, graphed_forward

from helpers import tiny
from helpers.interpreter import needs_triton

needs_triton()

OPTIONS = {"max_new_tokens": 4, "do_sample": False}


@pytest.fixture
def graphs(monkeypatch):
    """Caches lie in the Triton store, on a CPU too."""
    monkeypatch.setattr(stores, "_automatic", lambda like: "triton")


@pytest.fixture
def replayed(monkeypatch):
    """How many steps went through a GraphStep."""
    calls = []
    plain = GraphStep.__call__
    monkeypatch.setattr(GraphStep, "__call__", lambda self: (calls.append(1), plain(self))[1])
    return calls


def sparsemm(variant: str) -> SparseMM:
    heads = tiny.model(variant).config.text_config.num_key_value_heads
    scores = np.random.default_rng(0).random((tiny.LAYERS, heads)) ** 4
    return SparseMM(scores / scores.sum(), 16, window=8)


def graphed(model, policy, inputs, monkeypatch):
    with compress(model, policy) as run, monkeypatch.context() as patch:
        patch.setattr(model, "forward", graphed_forward(model), raising=False)
        out = model.generate(**inputs, **OPTIONS)
        return out, run.kept


@pytest.mark.parametrize(("method", "sizes"), [("fullkv", None), ("sparsemm", [(60, 40), (20, 64)])])
def test_graph_steps_are_generate(variant, method, sizes, graphs, replayed, monkeypatch):
    model, inputs = tiny.model(variant), tiny.inputs(sizes)
    policy = FullKV() if method == "fullkv" else sparsemm(variant)
    monkeypatch.setattr(stores, "_automatic", lambda like: "torch")
    with compress(model, policy) as run:
        expected = model.generate(**inputs, **OPTIONS)
    kept = run.kept
    monkeypatch.setattr(stores, "_automatic", lambda like: "triton")
    ours, our_kept = graphed(model, policy, inputs, monkeypatch)
    assert torch.equal(ours, expected)
    assert torch.equal(our_kept, kept)
    assert len(replayed) == OPTIONS["max_new_tokens"] - 1
    assert "forward" not in vars(model)


def test_sampling_and_a_later_turn(graphs, replayed, monkeypatch):
    model, inputs = tiny.model(), tiny.inputs()

    def turns(wrap):
        with compress(model, AdaKV(16, window=8)), monkeypatch.context() as patch:
            if wrap:
                patch.setattr(model, "forward", graphed_forward(model), raising=False)
            torch.manual_seed(0)
            first = model.generate(
                **inputs, max_new_tokens=3, do_sample=True, return_dict_in_generate=True, output_logits=True
            )
            ids = torch.cat([first.sequences, torch.tensor([[30, 41]])], 1)
            second = model.generate(
                input_ids=ids, past_key_values=first.past_key_values, max_new_tokens=3, do_sample=False
            )
            return second, torch.stack(first.logits)

    (expected, logits), (ours, our_logits) = turns(False), turns(True)
    assert torch.equal(ours, expected)
    torch.testing.assert_close(our_logits, logits, atol=1e-5, rtol=0)
    assert len(replayed) == 4


def test_no_room_is_said_before_a_step(graphs):
    from sparsemm.generation.prefill import capture_prefill, decode_step

    model, inputs = tiny.model(), tiny.inputs()
    cache = RaggedCache(tiny.LAYERS, reserve=1)

    def pack(layer):
        cache.ragged[layer.index].pack(
            layer.key, layer.value, torch.ones(layer.key.shape[:3], dtype=torch.bool)
        )
        cache.ragged[layer.index].seen = layer.key.shape[2]

    prefilled = capture_prefill(model, inputs, pack)
    token = prefilled.logits.argmax(-1)
    with ragged_attention_in(model):
        step = GraphStep(cache, lambda: decode_step(model, token, prefilled.next_position, cache))
        step()
        held = cache.ragged[0].filled().lengths
        with pytest.raises(InputError, match="room for 1 new tokens, 2 are needed"):
            step()
    assert torch.equal(cache.ragged[0].filled().lengths, held)


def test_it_needs_a_gpu():
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cuda_graph=True needs the model on CUDA"):  # noqa: SIM117
            with compress(tiny.model(), FullKV(), cuda_graph=True):
                pass


def test_other_storage_is_refused():
    model, inputs = tiny.model(), tiny.inputs()
    with compress(model, SnapKV(16, window=8)) as run:
        model.generate(**inputs, **OPTIONS)
        with pytest.raises(InputError, match="CUDA graph needs the Triton storage"):
            GraphStep(run.cache, lambda: torch.zeros(1))
