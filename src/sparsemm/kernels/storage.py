"""FlatStore: the keys and values of one layer as two flat tensors, one run of rows per (row, KV head).

The sequences, one per (row, KV head), lie in order of length, cut into buckets (buckets.py); each has
`reserve` spare rows at its end, into which new tokens are written in place. All tensors that hold one number
a sequence are in natural order: row-major over (row, KV head).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.errors import InputError
from sparsemm.kernels.buckets import plan
from sparsemm.kernels.torch_decode import attend


class FlatStore:
    """Room for `lengths` [R, Hkv] tokens and `reserve` more each; `like` gives head_dim, dtype, device."""

    def __init__(self, lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> None:
        self.rows, self.heads = lengths.shape
        self.reserve = reserve
        self.width = like.shape[-1]
        flat = lengths.flatten()
        ordered, order = torch.sort(flat, stable=True)
        token_bytes = 2 * self.width * like.element_size()
        self.buckets = plan(ordered.tolist(), reserve, token_bytes, like.device.type)
        counts = torch.tensor([bucket.count for bucket in self.buckets], device=like.device)
        capacity = torch.tensor([bucket.capacity for bucket in self.buckets], device=like.device)
        capacity = capacity.repeat_interleave(counts)
        self.initial = flat
        self.starts = torch.empty_like(flat)
        self.starts[order] = capacity.cumsum(0) - capacity
        self.next = self.starts + flat  # where the next appended token goes
        total = sum(bucket.capacity * bucket.count for bucket in self.buckets)
        # Zeros, not empty: rows that are masked still meet a weight of 0, and 0 * NaN is NaN.
        self.keys = like.new_zeros(total, self.width)
        self.values = like.new_zeros(total, self.width)
        self.bias = like.new_full((total,), float("-inf"))  # 0 where a token is
        natural = torch.arange(flat.shape[0], device=like.device)
        self.order: torch.Tensor | None = None  # None: storage order is natural order
        self.inverse: torch.Tensor | None = None
        if not bool((order == natural).all()):
            self.order, self.inverse = order, torch.empty_like(order)
            self.inverse[order] = natural
        self.grown = 0  # tokens appended, pads counted: the same for every sequence
        self.uneven = False  # whether pads made sequences of one length differ

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens held now, int64 [R, Hkv]."""
        return (self.next - self.starts).view(self.rows, self.heads)

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, room to append, padding inside buckets, and the mask."""
        return sum(t.numel() * t.element_size() for t in (self.keys, self.values, self.bias))

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence."""
        at = positions(self.starts, self.initial)
        self.keys[at] = keys
        self.values[at] = values
        self.bias[at] = 0.0

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) take no row.

        Raises InputError, before anything is written, when the rows do not fit the store or have no room.
        """
        rows, heads, count, width = key.shape
        if (rows, heads) != (self.rows, self.heads):
            raise InputError(
                f"{rows} rows of {heads} KV heads meet a ragged cache of {self.rows} rows of {self.heads}; "
                "decode the batch that the cache was filled with"
            )
        if self.grown + count > self.reserve:
            raise InputError(
                f"the ragged cache has room for {self.reserve} new tokens, {self.grown + count} are needed; "
                "reserve more (max_new_tokens and the tokens of later turns)"
            )
        if count == 1 and valid is None:
            self.keys.index_copy_(0, self.next, key.reshape(rows * heads, width))
            self.values.index_copy_(0, self.next, value.reshape(rows * heads, width))
            self.bias.index_fill_(0, self.next, 0.0)
            self.next += 1
        else:
            real = key.new_ones(rows, count, dtype=torch.bool) if valid is None else valid
            real = real[:, None].expand(rows, heads, count)
            at = (self.next.view(rows, heads, 1) + real.cumsum(-1) - 1)[real]
            self.keys[at] = key[real]
            self.values[at] = value[real]
            self.bias[at] = 0.0
            self.next += real.sum(-1).flatten()
            self.uneven = self.uneven or valid is not None
        self.grown += count

    def attend(self, query: torch.Tensor, scaling: float, valid: torch.Tensor | None) -> torch.Tensor:
        """Attention of the tokens just appended: query [R, Hq, q, D] -> [R, q, Hq, D].

        The query heads of a KV head are the rows of one matrix, so its keys are read once for all of them.
        """
        rows, query_heads, count, width = query.shape
        sequences, group = rows * self.heads, query_heads // self.heads
        q = (query * scaling).reshape(sequences, group * count, width)
        limits = None
        if count > 1 or valid is not None:  # causal among the new tokens
            real = query.new_ones(rows, count, dtype=torch.int64) if valid is None else valid.long()
            before = self.lengths - real.sum(-1, keepdim=True)  # [R, Hkv]
            limits = before[:, :, None, None] + real.cumsum(-1)[:, None, None]
            limits = limits.expand(rows, self.heads, group, count).reshape(sequences, group * count)
        if self.order is not None:
            q = q.index_select(0, self.order)
            limits = None if limits is None else limits.index_select(0, self.order)
        out = attend(
            q,
            self.keys,
            self.values,
            self.bias,
            self.buckets,
            grown=self.grown,
            masked=self.uneven,
            limits=limits,
        )
        if self.inverse is not None:
            out = out.index_select(0, self.inverse)
        return out.view(rows, query_heads, count, width).transpose(1, 2)

    @classmethod
    def combine(cls, parts: Sequence[tuple[FlatStore, torch.Tensor | None]], reserve: int) -> FlatStore:
        """A new store with the given rows (int64 indexes, None for all) of several stores, copied once."""
        lengths, starts = [], []
        for store, rows in parts:
            first = store.starts.view(store.rows, store.heads)
            lengths.append(store.lengths if rows is None else store.lengths[rows])
            starts.append(first if rows is None else first[rows])
        made = cls(torch.cat(lengths), reserve, parts[0][0].keys)
        at = positions(made.starts, made.initial)
        done = 0
        for (store, _), length, start in zip(parts, lengths, starts):
            source = positions(start.flatten(), length.flatten())
            target = at[done : done + source.shape[0]]
            made.keys[target] = store.keys[source]
            made.values[target] = store.values[source]
            done += source.shape[0]
        made.bias[at] = 0.0
        return made


def positions(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Rows of all tokens of all sequences, sequence by sequence: int64 [sum(lengths)]."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    rank = torch.arange(total, device=starts.device)
    return rank + (starts - (ends - lengths)).repeat_interleave(lengths, output_size=total)
