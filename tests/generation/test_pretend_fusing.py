"""The way of fusing that a graph is captured with, on a pretend CUDA device (tests/pretend)."""

from __future__ import annotations

import functools
from weakref import WeakKeyDictionary

import pytest
import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation import graphs
from sparsemm.generation.fusing import fused, fused_layers
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill

from pretend.models import here, moved, policy, prompt, there

FAMILY = "llava_next-mistral"


@functools.cache
def tokens_here() -> list[list[int]]:
    model = here(FAMILY)
    with ragged_attention_in(model), torch.no_grad():
        cache, token, place = prefill(model, prompt(FAMILY), policy("snapkv", model), 4)
        return GreedyLoop(model, cache, token, place).run(2).tolist()


@pytest.mark.parametrize(
    ("times", "kept"), [([1.0, 2.0], fused_layers), ([2.0, 1.0], fused), ([1.0, 1.0], fused_layers)]
)
def test_the_fastest_way_is_kept_and_remembered(times, kept, cuda, monkeypatch):
    expected, asked = tokens_here(), []

    def measured(graph, undo, device):
        graph.replay()
        undo()
        asked.append(graph)
        return times[len(asked) - 1]

    monkeypatch.setattr(graphs, "_seconds", measured)
    monkeypatch.setattr(graphs, "_fastest", WeakKeyDictionary())
    model = moved(FAMILY)
    with ragged_attention_in(model), torch.no_grad():
        for _ in range(2):
            cache, token, place = prefill(model, there(prompt(FAMILY)), policy("snapkv", model), 4)
            before = cache.ragged[0].filled().counts.tolist()
            loop = GreedyLoop(model, cache, token, place)
            assert loop.fusion is kept
            assert len(asked) == 2  # the second time it is known
            # Warm-ups and timed replays have left nothing behind.
            assert cache.ragged[0].filled().counts.tolist() == before
            assert loop.token.tolist() == token.tolist()
            assert loop.run(2).tolist() == expected
