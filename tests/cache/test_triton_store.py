"""The Triton store against the torch store and against plain attention; without a GPU in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from sparsemm.cache.stores.flat_store import FlatStore
from sparsemm.errors import InputError

from helpers.interpreter import needs_triton

needs_triton()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WIDTH = 16


def both(table, reserve, seed=0):
    """A torch store and a Triton store of the same random tokens."""
    from sparsemm.cache.stores.triton_store import TritonStore

    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, int(table.sum()), WIDTH, generator=generator).to(DEVICE)
    stores = [make(table.to(DEVICE), reserve, keys) for make in (FlatStore, TritonStore)]
    for store in stores:
        store.fill(keys, values)
    return stores


def step(stores, count=1, group=1, valid=None, seed=0):
    """Append the same tokens to all and compare what attends to them."""
    generator = torch.Generator().manual_seed(seed)
    rows, heads = stores[0].rows, stores[0].heads
    key, value = torch.randn(2, rows, heads, count, WIDTH, generator=generator).to(DEVICE)
    query = torch.randn(rows, heads * group, count, WIDTH, generator=generator).to(DEVICE)
    outs = []
    for store in stores:
        store.append(key, value, valid)
        outs.append(store.attend(query, 0.4))
    real = slice(None) if valid is None else valid
    torch.testing.assert_close(outs[1][real], outs[0][real], atol=1e-5, rtol=0)
    assert torch.equal(stores[0].lengths, stores[1].lengths)


@pytest.mark.parametrize("group", [1, 3])
def test_one_token_several_and_pads(group):
    stores = both(torch.tensor([[3, 90], [1, 64]]), 12)
    step(stores, group=group)
    step(stores, count=3, group=group, seed=1)
    valid = torch.tensor([[False, True, True], [True, True, True]], device=DEVICE)
    step(stores, count=3, group=group, valid=valid, seed=2)
    step(stores, group=group, seed=3)


def test_rows_can_be_taken_and_stores_joined():
    first, second = both(torch.tensor([[3, 9], [7, 1], [2, 4]]), 5), both(torch.tensor([[70, 2]]), 5, seed=1)
    step(first)
    rows = torch.tensor([2, 0], device=DEVICE)
    joined = [type(a).combine([(a, rows), (b, None)], 4) for a, b in zip(first, second)]
    assert torch.equal(joined[1].lengths.cpu(), torch.tensor([[3, 5], [4, 10], [70, 2]]))
    step(joined, seed=2)


def test_what_was_appended_and_never_read_is_kept():
    stores = both(torch.tensor([[3, 9]]), 5)
    for store in stores:
        store.append(
            torch.ones(1, 2, 2, WIDTH, device=DEVICE), torch.ones(1, 2, 2, WIDTH, device=DEVICE), None
        )
    assert stores[1].lengths.tolist() == [[5, 11]]
    step(stores)


def test_rewound_stores_decode_the_same_again():
    stores = both(torch.tensor([[3, 9]]), 2)
    addresses = [stores[1].keys.data_ptr(), stores[1].values.data_ptr(), stores[1].counts.data_ptr()]
    for _ in range(2):
        step(stores)
        step(stores, seed=1)
        for store in stores:
            store.grown = 0
    assert [stores[1].keys.data_ptr(), stores[1].values.data_ptr(), stores[1].counts.data_ptr()] == addresses


def test_no_room_and_other_rows_are_refused_before_anything_changes():
    store = both(torch.tensor([[3, 9]]), 2)[1]
    more = torch.randn(1, 2, 3, WIDTH, device=DEVICE)
    with pytest.raises(InputError, match="room for 2 new tokens, 3 are needed"):
        store.append(more, more, None)
    with pytest.raises(InputError, match="2 rows of 2 KV heads"):
        store.append(more.expand(2, 2, 3, WIDTH), more.expand(2, 2, 3, WIDTH), None)
    with pytest.raises(InputError, match="append them first"):
        store.attend(more, 1.0)
    assert store.lengths.tolist() == [[3, 9]]


def test_it_is_asked_for_by_name_and_taken_on_a_gpu():
    from sparsemm.cache.stores.registry import make_store

    lengths, like = torch.tensor([[1, 2]]), torch.zeros(1, WIDTH)
    assert type(make_store(lengths, 1, like, kind="triton")).__name__ == "TritonStore"
    assert type(make_store(lengths, 1, like)).__name__ == "FlatStore"
    if torch.cuda.is_available():
        assert type(make_store(lengths.cuda(), 1, like.cuda())).__name__ == "TritonStore"


def test_full_keys_are_taken_in_blocks(monkeypatch):
    """Whatever the block, each (row, KV head) gets its own tokens in order, and only a block is copied at once."""
    from sparsemm.cache.stores import triton_store

    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn(2, 2, 3, 40, WIDTH, generator=generator).to(DEVICE)
    kept = (torch.rand(2, 3, 40, generator=generator) < 0.4).to(DEVICE)
    at = kept.nonzero(as_tuple=True)
    flat, whole = FlatStore(kept.sum(-1), 2, key), triton_store.TritonStore(kept.sum(-1), 2, key)
    for store in (flat, whole):
        store.take(key, value, at)
    for tokens in (1, 7, len(at[0])):
        monkeypatch.setattr(triton_store, "_COPIED_BYTES", tokens * WIDTH * key.element_size())
        store = triton_store.TritonStore(kept.sum(-1), 2, key)
        store.take(key, value, at)
        step([flat, store])
        flat.grown = 0
