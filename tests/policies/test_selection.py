"""Pooled attention and selection against plain loops over numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import pooled_attention, select
from sparsemm.errors import InputError
from sparsemm.policies import selection
from sparsemm.policies.selection import rank_positions


def naive_pooled(query, key, window: int, kernel: int, scaling: float | None = None) -> torch.Tensor:
    """One sample without pads, number by number: query [Hq, T, D], key [Hkv, T, D] -> [Hkv, T - window]."""
    heads, total, dim = query.shape
    kv_heads = key.shape[0]
    group = heads // kv_heads
    past = max(total - window, 0)
    scale = 1 / math.sqrt(dim) if scaling is None else scaling
    out = torch.zeros(kv_heads, past, dtype=torch.float64)
    if past == 0:
        return out
    for kv in range(kv_heads):
        mean = [0.0] * past
        for head in range(kv * group, (kv + 1) * group):
            for row in range(total - window, total):
                logits = [float(query[head, row] @ key[kv, col]) * scale for col in range(row + 1)]
                top = max(logits)
                weights = [math.exp(x - top) for x in logits]
                for col in range(past):
                    mean[col] += weights[col] / sum(weights) / window / group
        for col in range(past):
            span = range(col - kernel // 2, col + kernel // 2 + 1)
            out[kv, col] = sum(mean[i] for i in span if 0 <= i < past) / kernel
    return out


def tensors(batch: int, heads: int, kv_heads: int, total: int, dim: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, heads, total, dim, generator=generator)
    return query, torch.randn(batch, kv_heads, total, dim, generator=generator)


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 3), (6, 2), (4, 1)])
@pytest.mark.parametrize(
    ("total", "window", "kernel"), [(13, 4, 5), (9, 8, 3), (7, 1, 1), (12, 5, 7), (5, 4, 5)]
)
def test_equals_plain_loops(heads: int, kv_heads: int, total: int, window: int, kernel: int) -> None:
    query, key = tensors(2, heads, kv_heads, total)
    got = pooled_attention(query, key, window=window, kernel=kernel)
    assert got.dtype == torch.float32
    for row in range(2):
        want = naive_pooled(query[row], key[row], window, kernel)
        torch.testing.assert_close(got[row].double(), want, atol=1e-6, rtol=1e-5)


def test_last_rows_of_the_query_are_enough() -> None:
    query, key = tensors(2, 6, 2, 20)
    whole = pooled_attention(query, key, window=5)
    assert torch.equal(whole, pooled_attention(query[:, :, -5:], key, window=5))


def test_scaling_is_used() -> None:
    query, key = tensors(1, 2, 2, 12)
    want = naive_pooled(query[0], key[0], 3, 5, scaling=2.0)
    got = pooled_attention(query, key, window=3, scaling=2.0)
    torch.testing.assert_close(got[0].double(), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_ranked_in_float32(dtype: torch.dtype) -> None:
    query, key = (x.to(dtype) for x in tensors(1, 4, 2, 15))
    got = pooled_attention(query, key, window=4)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, pooled_attention(query.float(), key.float(), window=4))


@given(st.integers(0, 1000), st.lists(st.integers(1, 18), min_size=1, max_size=4), st.integers(1, 6))
@settings(max_examples=25)
def test_padded_batch_ranks_like_single_prompts(seed: int, lengths: list[int], window: int) -> None:
    total = max(lengths)
    query, key = tensors(len(lengths), 4, 2, total, seed=seed)
    valid = torch.arange(total) >= total - torch.tensor(lengths)[:, None]
    got = pooled_attention(query, key, window=window, kernel=5, valid=valid)
    assert not got.isnan().any()
    assert torch.equal(got == float("-inf"), ~valid[:, None, : got.shape[-1]].expand_as(got))
    for row, length in enumerate(lengths):
        alone = pooled_attention(
            query[row : row + 1, :, -length:], key[row : row + 1, :, -length:], window=window
        )
        torch.testing.assert_close(
            got[row, :, got.shape[-1] - alone.shape[-1] :], alone[0], atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("padded", [False, True])
def test_blocks_of_heads_change_nothing(monkeypatch: pytest.MonkeyPatch, padded: bool) -> None:
    query, key = tensors(2, 10, 5, 30)
    valid = (torch.arange(30) >= torch.tensor([[0], [7]])) if padded else None
    whole = pooled_attention(query, key, window=6, valid=valid)
    monkeypatch.setitem(selection._BLOCK_ELEMENTS, "cpu", 2 * 2 * 6 * 30 * 2)
    torch.testing.assert_close(pooled_attention(query, key, window=6, valid=valid), whole)


def test_inputs_are_left_alone() -> None:
    query, key = tensors(2, 4, 2, 12)
    before = query.clone(), key.clone()
    pooled_attention(query, key, window=4, valid=torch.ones(2, 12, dtype=torch.bool))
    assert torch.equal(query, before[0])
    assert torch.equal(key, before[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": 4}, "kernel=4"),
        ({"window": 0}, "window=0"),
        ({"query": torch.zeros(2, 5, 12, 4)}, "does not fit"),
        ({"query": torch.zeros(2, 4, 11, 4)}, "11 rows"),
        ({"valid": torch.ones(2, 11, dtype=torch.bool)}, "valid has shape"),
    ],
)
def test_misfits_are_refused(change, words: str) -> None:
    query, key = tensors(2, 4, 2, 12)
    arguments = {"query": query, "key": key, "window": 3} | change
    with pytest.raises(InputError, match=words):
        pooled_attention(arguments.pop("query"), arguments.pop("key"), **arguments)


def naive_select(pooled: list[float], keep: int, window: int) -> list[bool]:
    order = sorted(range(len(pooled)), key=lambda i: (-pooled[i], i))
    chosen = {i for i in order[:keep] if pooled[i] > float("-inf")}
    return [i in chosen for i in range(len(pooled))] + [True] * window


@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 12), st.integers(1, 4))
@settings(max_examples=60)
def test_select_equals_plain_loops(data, batch: int, heads: int, past: int, window: int) -> None:
    values = st.sampled_from([float("-inf"), 0.0, 0.25, 0.5, 1.0])  # many ties
    size = batch * heads * past
    pooled = torch.tensor(data.draw(st.lists(values, min_size=size, max_size=size)))
    pooled = pooled.view(batch, heads, past)
    counts = st.lists(st.integers(0, past + 3), min_size=batch * heads, max_size=batch * heads)
    keep = torch.tensor(data.draw(counts)).view(batch, heads)
    got = select(pooled, keep, window=window)
    assert got.dtype == torch.bool
    assert got.shape == (batch, heads, past + window)
    for b in range(batch):
        for h in range(heads):
            want = naive_select(pooled[b, h].tolist(), int(keep[b, h]), window)
            assert got[b, h].tolist() == want


def test_equal_values_go_by_position() -> None:
    pooled = torch.zeros(1, 2, 5)
    assert select(pooled, torch.tensor([[2, 0]]), window=1).tolist() == [
        [[True, True, False, False, False, True], [False] * 5 + [True]]
    ]


def test_many_policies_share_one_ranking() -> None:
    pooled = torch.rand(2, 3, 9)
    keep = torch.randint(0, 10, (4, 2, 3))
    ranks = rank_positions(pooled)
    together = select(pooled, keep, window=2, ranks=ranks)
    assert torch.equal(together, torch.stack([select(pooled, one, window=2) for one in keep]))
    assert torch.equal(together, select(pooled, keep, window=2))


def test_pads_are_never_kept() -> None:
    valid = torch.tensor([[False, False, True, True, True, True], [False, False, False, False, False, True]])
    query, key = tensors(2, 2, 2, 6)
    pooled = pooled_attention(query, key, window=2, valid=valid)
    kept = select(pooled, torch.full((2, 2), 99), window=2, valid=valid)
    assert torch.equal(kept, valid[:, None].expand_as(kept))


def test_prompt_shorter_than_the_window_is_kept_whole() -> None:
    query, key = tensors(1, 4, 2, 3)
    pooled = pooled_attention(query, key, window=8)
    assert pooled.shape == (1, 2, 0)
    keep = torch.zeros(1, 2, dtype=torch.long)
    assert select(pooled, keep, window=8, tokens=3).tolist() == [[[True] * 3] * 2]
    assert select(pooled, keep, window=8).shape == (1, 2, 8)
    with pytest.raises(InputError, match="do not fit"):
        select(torch.rand(1, 2, 4), keep, window=8, tokens=11)
    with pytest.raises(InputError, match="does not end"):
        select(torch.rand(1, 2, 4), keep[:, :1], window=8)
