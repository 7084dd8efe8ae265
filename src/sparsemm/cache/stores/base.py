"""Store: what a cache layer needs of the place where its ragged keys and values lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

# Sample, KV head and token of every kept token, int64 [N] each, sequence after sequence, row-major.
Places = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Store(Protocol):
    """Keys and values of one layer, a run of tokens per (row, KV head); new tokens are written in place.

    `rows`, `heads`, `width`: R, Hkv, D. `reserve`: tokens that can be appended to what was filled in, `grown`:
    tokens appended since, pads counted.
    """

    rows: int
    heads: int
    width: int
    reserve: int
    grown: int

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens held now, pads left out, int64 [R, Hkv]."""
        ...

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, scales, masks, padding, and the room for new tokens."""
        ...

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] filled-in tokens take in this store, padding and spare room left out."""
        ...

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence, row-major."""
        ...

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with what stands at `at` in full keys and values [B, Hkv, T, D]."""
        ...

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) are never attended to.

        Raises InputError, before anything is written, when the rows do not fit the store or have no room.
        """
        ...

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended to all that is held: query [R, Hq, q, D] -> [R, q, Hq, D]."""
        ...

    @classmethod
    def combine(cls, parts: Sequence[tuple[Any, torch.Tensor | None]], reserve: int) -> Store:
        """A new store with the given rows (int64 indexes, None for all) of stores of this class, copied once."""
        ...


def slots_of(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Slots of all tokens of all sequences, sequence after sequence: int64 [sum(lengths)]."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    rank = torch.arange(total, device=starts.device)
    return rank + (starts - (ends - lengths)).repeat_interleave(lengths, output_size=total)
