"""The Triton kernel against plain attention per head; without a GPU it runs in Triton's interpreter, on the CPU."""

from __future__ import annotations

import itertools

import pytest
import torch

from helpers.interpreter import needs_triton

needs_triton()

from sparsemm.kernels import triton_decode  # noqa: E402
from sparsemm.kernels.triton_decode import Sequences, chunk_tokens, decode, work_list  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def plain(query, held, heads, scaling):
    """Attention head by head in float64; no token gives zeros."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    group = query.shape[1] // heads
    for row, head in itertools.product(range(query.shape[0]), range(query.shape[1])):
        keys, values = held[row * heads + head // group]
        if len(keys):
            scores = keys.double() @ query[row, head].double().cpu() * scaling
            out[row, head] = torch.softmax(scores, -1) @ values.double()
    return out


CASES = [
    # rows, KV heads, group, width, dtype, lengths
    (1, 2, 1, 64, torch.float32, [0, 1]),
    (2, 2, 4, 80, torch.float32, [0, 150, 1, 64]),
    (1, 3, 7, 96, torch.float16, [63, 64, 65]),
    (2, 1, 1, 128, torch.bfloat16, [200, 5]),
    (1, 2, 2, 24, torch.float32, [130, 0]),
    (1, 2, 1, 80, torch.float16, [65, 3]),
    (1, 1, 1, 96, torch.float32, [64]),
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize(("rows", "heads", "group", "width", "dtype", "lengths"), CASES)
def test_every_head_attends_to_its_own_tokens(rows, heads, group, width, dtype, lengths):
    generator = torch.Generator().manual_seed(width)
    capacities = [length + 3 for length in lengths]
    starts = torch.tensor([0, *capacities]).cumsum(0)[:-1]
    flat_keys, flat_values = torch.randn(2, sum(capacities), width, generator=generator).to(dtype)
    held = [
        (flat_keys[s : s + n].clone(), flat_values[s : s + n].clone())
        for s, n in zip(starts.tolist(), lengths)
    ]
    keys, values = flat_keys.to(DEVICE), flat_values.to(DEVICE)
    work = work_list(capacities, DEVICE)
    counts = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    used = torch.zeros_like(counts)

    def step(new):
        query = torch.randn(rows, heads * group, width, generator=generator).to(dtype)
        stored = Sequences(keys, values, starts.to(DEVICE), counts, used, work)
        ours = decode(query.to(DEVICE), stored, 0.3, new)
        torch.testing.assert_close(
            ours.cpu().double(), plain(query, held, heads, 0.3), atol=TOLERANCE[dtype], rtol=0
        )

    step(None)
    assert counts.tolist() == lengths
    for _ in range(2):
        fresh = torch.randn(2, rows, heads, width, generator=generator).to(dtype)
        for index, (key, value) in enumerate(zip(fresh[0].flatten(0, 1), fresh[1].flatten(0, 1))):
            held[index] = torch.cat([held[index][0], key[None]]), torch.cat([held[index][1], value[None]])
        step((fresh[0].to(DEVICE), fresh[1].to(DEVICE)))
    assert counts.tolist() == [length + 2 for length in lengths]
    for start, capacity, length, (key, value) in zip(starts.tolist(), capacities, counts.tolist(), held):
        assert torch.equal(keys[start : start + length].cpu(), key)
        assert torch.equal(values[start : start + length].cpu(), value)
        end = slice(start + length, start + capacity)
        assert torch.equal(keys[end].cpu(), flat_keys[end])  # nothing is written beyond


@pytest.mark.parametrize(("group", "length", "merged"), [(1, 1030, 64), (2, 4200, 128)])
def test_many_chunks_are_merged(group, length, merged, monkeypatch):
    monkeypatch.setattr(triton_decode, "processors", lambda device: 132)
    assert work_list([length + 3], DEVICE).merged == merged
    test_every_head_attends_to_its_own_tokens(1, 1, group, 8, torch.float32, [length])


def test_work_covers_every_token_once_and_starts_with_whole_chunks():
    capacities = [0, 1, 64, 65, 700, 3]
    work = work_list(capacities, torch.device("cpu"))
    pairs = list(zip(work.sequence.tolist(), work.chunk.tolist()))
    assert sorted(pairs) == [(s, c) for s, n in enumerate(capacities) for c in range(-(-n // work.tokens))]
    sizes = [min(work.tokens, capacities[s] - c * work.tokens) for s, c in pairs]
    assert sizes == sorted(sizes, reverse=True)
    assert work.first.tolist() == [sum(s < index for s, _ in pairs) for index in range(len(capacities))]


def test_long_caches_get_long_chunks():
    assert chunk_tokens(8192, 132) == 64
    assert chunk_tokens(1 << 20, 132) == 1024
    assert chunk_tokens(300_000, 132) == 512
    assert chunk_tokens(0, 1) == 64
