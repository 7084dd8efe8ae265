"""Decode graphs on a pretend CUDA device: the fusion inside `compress`, and graphs that outlive earlier ones."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation import graphs
from sparsemm.generation.compress import compress
from sparsemm.generation.fusing import fused, fused_layers
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill

from pretend.models import here, moved, policy, prompt, there

FAMILY = "llava_next-llama"
OPTIONS = {"max_new_tokens": 3, "do_sample": False}


def test_a_row_in_compress_runs_fused_layers_when_they_are_fastest(cuda, monkeypatch):
    """Chunking, which `compress` puts on norms and MLPs, does not keep whole layers from being fused."""
    chosen = policy("snapkv", here(FAMILY))
    with compress(here(FAMILY), chosen):
        expected = here(FAMILY).generate(**prompt(FAMILY), **OPTIONS).tolist()
    asked = []
    monkeypatch.setattr(graphs, "_seconds", lambda *given: asked.append(given) or float(len(asked)))
    monkeypatch.setattr(graphs, "_fastest", WeakKeyDictionary())
    model = moved(FAMILY)
    with compress(model, chosen, cuda_graph=True):
        assert model.generate(**there(prompt(FAMILY)), **OPTIONS).tolist() == expected
    assert len(asked) == 2  # both fusions were captured
    assert graphs._fastest[model] == {1: fused_layers}
    assert not any("forward" in vars(module) for module in model.modules())


@torch.no_grad()
def test_a_graph_runs_on_after_an_earlier_one_is_freed(cuda, monkeypatch):
    """Each is captured on a stream of its own, whose workspaces no other graph owns."""
    model, inputs = here(FAMILY), prompt(FAMILY)
    with ragged_attention_in(model):
        loop = GreedyLoop(model, *prefill(model, inputs, policy("snapkv", model), 1))
        expected = loop.run(1).tolist()
    model = moved(FAMILY)
    monkeypatch.setattr(graphs, "_fastest", WeakKeyDictionary({model: {1: fused}}))
    with ragged_attention_in(model):
        first, second = (
            GreedyLoop(model, *prefill(model, there(inputs), policy("snapkv", model), 1)) for _ in range(2)
        )
        assert first.run(1).tolist() == expected
        del first
        assert second.run(1).tolist() == expected
