"""The library on a pretend CUDA device (tests/pretend): the same tokens as on the CPU, by the rules of a GPU."""

from __future__ import annotations

import pytest
import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.errors import InputError
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill

from pretend.models import FAMILIES, here, moved, policy, prompt, there

STEPS = 3


def greedy(model, inputs, chosen, steps=STEPS, **options):
    cache, token, place = prefill(model, inputs, chosen, steps)
    return GreedyLoop(model, cache, token, place, **options)


class TestDevice:
    def test_mixing_devices_raises(self, cuda):
        here, other = torch.ones(3), torch.ones(3, device="cuda")
        assert other.is_cuda
        assert other.device == torch.device("cuda:0")
        assert other.new_zeros(2).is_cuda
        for mix in (
            lambda: here + other,
            lambda: torch.cat([here, other]),
            lambda: here[other.long()],
            lambda: here.add_(other.sum()),
            lambda: torch.stack([torch.tensor(1.0), other[0]]),
        ):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                mix()
        assert (other * torch.tensor(2.0)).tolist() == [
            2,
            2,
            2,
        ]  # a number from the host is a launch's argument
        assert other[torch.tensor([0])].is_cuda
        with pytest.raises(TypeError, match="numpy"):
            other.numpy()
        with pytest.raises(RuntimeError, match="not implemented"):
            other.long() @ other.long()
        assert torch.equal(other.cpu(), here)
        assert here.to("cuda").is_cuda
        assert other.to("cuda") is other
        assert other.new_empty(4).isnan().all()

    def test_makers(self, cuda):
        with torch.device("cuda"):
            assert torch.tensor([1]).is_cuda
            assert torch.nn.Linear(2, 2).weight.is_cuda
        generator = torch.Generator(device="cuda").manual_seed(0)
        drawn = torch.randn(3, generator=generator, device="cuda")
        assert torch.equal(drawn.cpu(), torch.randn(3, generator=torch.Generator().manual_seed(0)))
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, generator=torch.Generator(), device="cuda")
        grown = torch.zeros(2, 2, device="cuda")
        same = grown
        grown += 1
        grown[0] = 3.0
        assert grown is same
        assert grown.tolist() == [[3, 3], [1, 1]]

    @pytest.mark.parametrize(
        "ask",
        [
            lambda x: x.sum().item(),
            lambda x: bool(x.any()),
            lambda x: x.tolist(),
            lambda x: x.nonzero(),
            lambda x: x[x > 0],
            lambda x: x.cpu(),
            lambda x: x.copy_(torch.ones(3)),
            lambda x: torch.tensor([1.0], device="cuda"),
            lambda x: x[torch.tensor([0])],
            lambda x: x.repeat_interleave(x.long()),
            lambda x: torch.cuda.synchronize(),
            lambda x: torch.cuda.empty_cache(),
        ],
    )
    def test_a_question_inside_a_capture_raises(self, cuda, ask):
        x = torch.ones(3, device="cuda")
        ask(x)
        assert cuda.syncs
        graph = torch.cuda.CUDAGraph()
        with (
            pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
            torch.cuda.graph(graph),
        ):
            ask(x)
        with pytest.raises(RuntimeError, match="without a preceding successful capture"):
            graph.replay()

    def test_capture_does_nothing_and_replay_does(self, cuda):
        x, graph = torch.zeros(2, 2, device="cuda"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            x += 1
            double = x * 2
            row = double[0]
            row += 1
        assert x.tolist() == [[0, 0], [0, 0]]
        assert double.isnan().all()
        address = double.data_ptr()
        for step in (1, 2):
            graph.replay()
            assert x.tolist() == [[step] * 2] * 2
            assert double.tolist() == [[2 * step + 1] * 2, [2 * step] * 2]
            assert row.tolist() == [2 * step + 1] * 2
        x.zero_()
        graph.replay()
        assert row.tolist() == [3, 3]
        assert double.data_ptr() == address

    def test_a_graph_over_freed_memory_raises(self, cuda):
        x, graph = torch.zeros(2, device="cuda"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = x + 1
        graph.replay()
        assert out.tolist() == [1, 1]
        del x
        with pytest.raises(RuntimeError, match="freed memory"):
            graph.replay()

    def test_memory_is_counted(self, cuda):
        before = torch.cuda.memory_allocated()
        big = torch.zeros(1000, device="cuda")
        part = big[:10]
        del big
        assert torch.cuda.memory_allocated() == before + 4000  # a view keeps the whole
        torch.cuda.reset_peak_memory_stats()
        (part + 1).sum()
        assert torch.cuda.max_memory_allocated() == before + 4000 + 40 + 4
        del part
        assert torch.cuda.memory_allocated() == before
        assert cuda.largest == 10

    def test_launches_are_watched(self, cuda):
        from sparsemm.kernels import triton_fused

        x = torch.ones(2, 8, device="cuda")
        triton_fused.rms_norm(x, torch.ones(8, device="cuda"), 1e-6)
        assert cuda.launches == 1
        with pytest.raises(RuntimeError, match="cannot be accessed"):
            triton_fused.rms_norm(x, torch.ones(8), 1e-6)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            triton_fused.rms_norm(x, torch.ones(7, device="cuda"), 1e-6)
        one = torch.ones(8, device="cuda")
        with pytest.raises(RuntimeError, match="two programs"):
            triton_fused._rms_norm[(2,)](x, one, x.flatten()[2:], 1e-6, WIDTH=4, PADDED=8)


@pytest.mark.parametrize("method", ["fullkv", "snapkv", "sparsemm"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_loop_is_that_of_the_cpu(family, method, cuda):
    model = here(family)
    chosen = policy(method, model)
    with ragged_attention_in(model):
        expected = greedy(model, prompt(family), chosen).run(STEPS)
    model = moved(family)
    with ragged_attention_in(model):
        for graph in (True, False):
            loop = greedy(model, there(prompt(family)), chosen, graph=graph)
            assert type(loop.cache.ragged[0].filled()).__name__ == "TritonStore"
            cuda.syncs.clear()
            first = loop.run(STEPS)
            assert cuda.syncs == []  # the host never waits
            loop.rewind()
            again = loop.run(STEPS)
            with pytest.raises(InputError, match="room for 3 new tokens, 4 are needed"):
                loop.run(1)
            assert torch.equal(first.cpu(), expected)
            assert torch.equal(again.cpu(), expected)
