"""The ragged cache: storage against plain attention per head, in-place appends, room, rows."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm.cache.ragged import RaggedCache, RaggedLayer
from sparsemm.cache.stores.flat_store import FlatStore
from sparsemm.errors import InputError
from sparsemm.kernels.buckets import Bucket, cut, plan

WIDTH = 4


def filled(lengths: torch.Tensor, reserve: int, seed: int = 0) -> tuple[FlatStore, list]:
    """A store of random tokens, and per sequence its keys and values."""
    generator = torch.Generator().manual_seed(seed)
    total = int(lengths.sum())
    keys, values = torch.randn(2, total, WIDTH, generator=generator)
    store = FlatStore(lengths, reserve, keys)
    store.fill(keys, values)
    counts = lengths.flatten().tolist()
    return store, [list(pair) for pair in zip(keys.split(counts), values.split(counts))]


def extend(held: list, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None = None) -> None:
    """What append does, on the plain lists."""
    for index, (row, head) in enumerate(itertools.product(*map(range, key.shape[:2]))):
        real = slice(None) if valid is None else valid[row]
        held[index] = [
            torch.cat([held[index][0], key[row, head][real]]),
            torch.cat([held[index][1], value[row, head][real]]),
        ]


def expected(held: list, query: torch.Tensor, heads: int, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention sequence by sequence, causal among the newest tokens: [R, q, Hq, D]."""
    rows, query_heads, count, _ = query.shape
    group = query_heads // heads
    out = torch.zeros(rows, count, query_heads, WIDTH)
    for row, head, step in itertools.product(range(rows), range(query_heads), range(count)):
        keys, values = held[row * heads + head // group]
        new = torch.ones(count) if valid is None else valid[row]
        seen = len(keys) - int(new[step + 1 :].sum())
        weights = torch.softmax(keys[:seen] @ query[row, head, step] * 0.5, -1)
        out[row, step, head] = weights @ values[:seen]
    return out


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    heads=st.sampled_from([1, 2, 3]),
    group=st.sampled_from([1, 2]),
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
def test_decode_is_attention_over_each_heads_own_tokens(lengths, heads, group, counts):
    rows = len(lengths)
    table = torch.tensor(lengths)[:, None] + torch.arange(heads) * 7
    store, held = filled(table, sum(counts))
    for seed, count in enumerate(counts):
        generator = torch.Generator().manual_seed(seed)
        key, value = torch.randn(2, rows, heads, count, WIDTH, generator=generator)
        query = torch.randn(rows, heads * group, count, WIDTH, generator=generator)
        store.append(key, value, None)
        extend(held, key, value)
        torch.testing.assert_close(store.attend(query, 0.5), expected(held, query, heads), atol=1e-5, rtol=0)
    assert torch.equal(store.lengths, table + sum(counts))


def test_many_buckets_read_the_right_tokens(monkeypatch):
    monkeypatch.setattr("sparsemm.kernels.buckets.CALL_BYTES", {"cpu": 1, "cuda": 1})
    table = torch.tensor([[3, 50], [11, 2], [50, 7]])
    store, held = filled(table, 5)
    assert len(store.buckets) == 5
    for seed in range(5):
        key, value = torch.randn(2, 3, 2, 1, WIDTH, generator=torch.Generator().manual_seed(seed))
        store.append(key, value, None)
        extend(held, key, value)
        query = torch.randn(3, 2, 1, WIDTH)
        torch.testing.assert_close(store.attend(query, 0.5), expected(held, query, 2), atol=1e-5, rtol=0)


def test_pads_among_new_tokens_are_not_seen():
    table = torch.tensor([[3, 9], [5, 5]])
    store, held = filled(table, 12)
    valid = torch.tensor([[False, True, True], [True, True, True]])
    for turn in (valid, None, valid.flip(0)):
        key, value = torch.randn(2, 2, 2, 3, WIDTH)
        query = torch.randn(2, 4, 3, WIDTH)
        store.append(key, value, turn)
        extend(held, key, value, turn)
        real = torch.ones(2, 3, dtype=torch.bool) if turn is None else turn
        mine, theirs = store.attend(query, 0.5), expected(held, query, 2, turn)
        torch.testing.assert_close(mine[real], theirs[real], atol=1e-5, rtol=0)
    assert torch.equal(store.lengths, table + 8)


def test_appending_copies_nothing():
    store, _ = filled(torch.tensor([[3, 9], [5, 70]]), 4)
    before = [tensor.data_ptr() for tensor in (store.tokens, store.bias)]
    for _ in range(4):
        key, value = torch.randn(2, 2, 2, 1, WIDTH)
        store.append(key, value, None)
    assert [tensor.data_ptr() for tensor in (store.tokens, store.bias)] == before


def test_no_room_is_an_error_before_anything_is_written():
    store, _ = filled(torch.tensor([[3, 9]]), 2)
    key, value = torch.randn(2, 1, 2, 1, WIDTH)
    store.append(key, value, None)
    saved = [store.tokens.clone(), store.lengths]
    more = torch.randn(1, 2, 2, WIDTH)
    with pytest.raises(InputError, match="room for 2 new tokens, 3 are needed"):
        store.append(more, more, None)
    with pytest.raises(InputError, match="2 rows of 2 KV heads"):
        store.append(torch.randn(2, 2, 1, WIDTH), torch.randn(2, 2, 1, WIDTH), None)
    assert all(torch.equal(a, b) for a, b in zip(saved, [store.tokens, store.lengths]))


def packed(rows: int, tokens: int = 20, layers: int = 2, reserve: int = 6, seed: int = 0) -> RaggedCache:
    """A cache packed with random kept sets of `rows` samples."""
    generator = torch.Generator().manual_seed(seed)
    cache = RaggedCache(layers, reserve=reserve, seen=tokens)
    for layer in cache.ragged:
        key, value = torch.randn(2, rows, 3, tokens, WIDTH, generator=generator)
        kept = torch.rand(rows, 3, tokens, generator=generator) < 0.5
        kept[..., -2:] = True
        layer.pack(key, value, kept)
    return cache


def test_pack_takes_rows_from_their_source():
    key, value = torch.randn(2, 2, 3, 10, WIDTH)
    kept = torch.rand(4, 3, 10, generator=torch.Generator().manual_seed(1)) < 0.6
    kept[..., -1] = True
    source = torch.tensor([1, 0, 1, 1])
    layer = RaggedLayer()
    layer.pack(key, value, kept, source=source, reserve=3)
    assert torch.equal(layer.kept, kept.sum(-1))
    assert layer.cache_bytes == int(kept.sum()) * 2 * WIDTH * 4
    held = [
        [key[source[row], head][kept[row, head]], value[source[row], head][kept[row, head]]]
        for row, head in itertools.product(range(4), range(3))
    ]
    new_key, new_value = torch.randn(2, 4, 3, 1, WIDTH)
    layer.filled().append(new_key, new_value, None)
    extend(held, new_key, new_value)
    query = torch.randn(4, 3, 1, WIDTH)
    out = layer.filled().attend(query, 0.5)
    torch.testing.assert_close(out, expected(held, query, 3), atol=1e-5, rtol=0)


def test_pack_refuses_what_does_not_fit():
    key = torch.randn(2, 3, 10, WIDTH)
    for kept, source in (
        (torch.ones(2, 3, 9, dtype=torch.bool), None),
        (torch.ones(2, 3, 10), None),
        (torch.ones(3, 3, 10, dtype=torch.bool), None),
        (torch.ones(3, 3, 10, dtype=torch.bool), torch.tensor([0, 1])),
    ):
        with pytest.raises(InputError, match="do not fit"):
            RaggedLayer().pack(key, key, kept, source=source)


def step(cache: RaggedCache, rows: torch.Tensor, seed: int) -> torch.Tensor:
    """Feed row-dependent tokens to every layer, [L, R, 1, H, D]; equal rows get equal tokens."""
    key, value, query = torch.randn(3, 10, 3, 1, WIDTH, generator=torch.Generator().manual_seed(seed))[
        :, rows
    ]
    outs = []
    for layer in cache.ragged:
        layer.filled().append(key, value, None)
        outs.append(layer.filled().attend(query, 0.5))
    return torch.stack(outs)


def test_kept_rows_grow_and_combine_change_nothing():
    everything = torch.arange(5)
    reference, other = packed(5), packed(5)
    step(reference, everything, 0), step(other, everything, 0)
    rows = torch.tensor([4, 1, 2])
    other.keep_rows(rows)
    assert torch.equal(other.kept, reference.kept[:, rows])
    torch.testing.assert_close(
        step(other, rows, 1), step(reference, everything, 1)[:, rows], atol=1e-6, rtol=0
    )
    other.grow(40)
    assert other.ragged[0].filled().reserve == 40
    torch.testing.assert_close(
        step(other, rows, 2), step(reference, everything, 2)[:, rows], atol=1e-6, rtol=0
    )
    pointer = other.ragged[0].filled().tokens.data_ptr()
    other.grow(2)  # there is room: nothing moves
    assert other.ragged[0].filled().tokens.data_ptr() == pointer
    both = RaggedCache.combine([reference, other], reserve=5)
    assert both.ragged[0].batch_size == 8
    ours = step(both, torch.cat([everything, rows]), 3)
    theirs = torch.cat([step(reference, everything, 3), step(other, rows, 3)], 1)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_growing_keeps_pads_hidden():
    store, held = filled(torch.tensor([[3, 9], [5, 5]]), 3)
    valid = torch.tensor([[False, True], [True, True]])
    key, value = torch.randn(2, 2, 2, 2, WIDTH)
    store.append(key, value, valid)
    extend(held, key, value, valid)
    grown = FlatStore.combine([(store, None)], 4)
    assert torch.equal(grown.lengths, store.lengths)
    key, value = torch.randn(2, 2, 2, 1, WIDTH)
    grown.append(key, value, None)
    extend(held, key, value)
    query = torch.randn(2, 2, 1, WIDTH)
    torch.testing.assert_close(grown.attend(query, 0.5), expected(held, query, 2), atol=1e-5, rtol=0)


def test_sizes_and_refusals():
    cache = packed(2)
    assert cache.kept.shape == (2, 2, 3)
    assert cache.cache_bytes == int(cache.kept.sum()) * 2 * WIDTH * 4
    assert cache.reserved_bytes > cache.cache_bytes
    assert cache.get_seq_length() == 20
    assert cache.get_mask_sizes(1, 0) == (21, 0)
    assert not cache.is_compileable
    with pytest.raises(InputError, match="beam"):
        cache.reorder_cache(torch.tensor([1, 0]))
    with pytest.raises(InputError, match="empty"):
        _ = RaggedCache(1).cache_bytes
    cache.reset()
    assert cache.get_seq_length() == 0


def test_a_cache_without_its_attention_says_so():
    cache = packed(1)
    key = torch.randn(1, 3, 1, WIDTH)
    cache.update(key, key, 0)
    with pytest.raises(InputError, match="without the sparsemm attention"):
        cache.update(key, key, 0)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 500), st.integers(1, 9)), min_size=1, max_size=7, unique_by=lambda p: p[0]
    ),
    call=st.floats(0, 3000),
)
def test_cut_is_the_cheapest(sizes, call):
    lengths, counts = zip(*sorted(sizes))

    def cost(ends):
        starts = [0, *ends[:-1]]
        return sum(call + sum(counts[a:b]) * lengths[b - 1] for a, b in zip(starts, ends))

    inner = range(1, len(lengths))
    every = ([*some, len(lengths)] for n in range(len(lengths)) for some in itertools.combinations(inner, n))
    assert cost(cut(lengths, counts, call)) == pytest.approx(min(map(cost, every)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=40), st.integers(0, 100))
def test_buckets_cover_every_sequence(lengths, reserve):
    ordered = sorted(lengths)
    first = base = 0
    for bucket in plan(ordered, reserve, 192, "cpu"):
        assert isinstance(bucket, Bucket)
        members = ordered[bucket.first : bucket.first + bucket.count]
        assert (bucket.first, bucket.base) == (first, base)
        assert bucket.length == max(members)
        assert bucket.uniform == (len(set(members)) == 1)
        first, base = first + bucket.count, base + bucket.count * bucket.capacity
        assert bucket.capacity == bucket.length + reserve
    assert first == len(ordered)
