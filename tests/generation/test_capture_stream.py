"""A graph is captured on the stream of its own warm-up: what libraries keep for a stream is then no other graph's."""

from __future__ import annotations

import contextlib

import pytest
import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill

from pretend.graph import capturing, pretend_cuda
from pretend.models import moved, policy, prompt

triton = pytest.importorskip("triton", reason="triton is not installed: pip install 'sparsemm[dev]'")
if torch.cuda.is_available() or not triton.knobs.runtime.interpret:
    pytest.skip(
        "a real GPU is there, or triton was imported before TRITON_INTERPRET=1", allow_module_level=True
    )


def test_warm_up_and_capture_share_a_stream_that_no_other_graph_has(monkeypatch):
    warmed, captured = [], []

    def stream(side):
        warmed.append(side)
        return contextlib.nullcontext()

    def graph(made, *, stream=None):
        captured.append(stream)
        return capturing(made)

    with pretend_cuda(), torch.no_grad():
        model, inputs = moved("llava_next-llama"), prompt("llava_next-llama")
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "graph", graph)
        inputs = {name: tensor.to("cuda") for name, tensor in inputs.items()}
        with ragged_attention_in(model):
            loops = [GreedyLoop(model, *prefill(model, inputs, policy("snapkv", model), 2)) for _ in range(2)]
        monkeypatch.undo()
    assert len(loops) == 2
    assert warmed == captured
    assert len(set(map(id, warmed))) == len(warmed) > 1
