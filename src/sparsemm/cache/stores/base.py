"""Store: the interface of the storage of one cache layer's ragged keys and values, and the checks that stores share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from sparsemm.errors import InputError

# Sample, KV head and token of every kept token, int64 [N] each, sequence after sequence, row-major.
Places = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Store(Protocol):
    """Keys and values of one layer: a sequence of tokens per (row, KV head); new tokens are written in place.

    Attributes:
        rows: R.
        heads: KV heads, Hkv.
        width: head size, D.
        reserve: tokens that can be appended after `fill`.
        grown: tokens appended so far, pads counted.
    """

    rows: int
    heads: int
    width: int
    reserve: int
    grown: int

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens stored now, without pads, int64 [R, Hkv]."""
        ...

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, scales, masks, padding, and the slots reserved for new tokens."""
        ...

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] tokens of a prompt take, without padding and reserved slots."""
        ...

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence, row-major."""
        ...

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with the tokens at the places `at` of full keys and values [B, Hkv, T, D]."""
        ...

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) are never attended to.

        Raises:
            InputError: before anything is written, by `check_rows` and `check_room`.
        """
        ...

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended over all stored ones: query [R, Hq, q, D] -> [R, q, Hq, D]."""
        ...

    @classmethod
    def combine(cls, parts: Sequence[tuple[Any, torch.Tensor | None]], reserve: int) -> Store:
        """A new store with the given rows (int64 indexes, None for all) of stores of this class, copied once."""
        ...


def check_rows(store: Store, key: torch.Tensor) -> None:
    """Raise InputError when new keys [R, Hkv, q, D] are of other rows or KV heads than the store."""
    rows, heads = key.shape[:2]
    if (rows, heads) != (store.rows, store.heads):
        raise InputError(
            f"{rows} rows of {heads} KV heads meet a ragged cache of {store.rows} rows of {store.heads}; "
            "decode the batch that the cache was filled with"
        )


def check_room(store: Store, count: int) -> None:
    """Raise InputError when the store has no reserved slots for `count` more tokens."""
    if store.grown + count > store.reserve:
        raise InputError(
            f"the ragged cache has room for {store.reserve} new tokens, {store.grown + count} are needed; "
            "reserve more (max_new_tokens and the tokens of later turns)"
        )


def slots_of(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Slots of all tokens of all sequences, sequence after sequence: int64 [sum(lengths)]."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    rank = torch.arange(total, device=starts.device)
    return rank + (starts - (ends - lengths)).repeat_interleave(lengths, output_size=total)
