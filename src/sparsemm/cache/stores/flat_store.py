"""FlatStore: the keys and values of one layer, one run of columns per (row, KV head).

The sequences, one per (row, KV head), are ordered by length and cut into buckets (buckets.py). In a bucket
they end at the same column, so that a new token goes to one column for all of them: a strided write in place,
and the mask in front of the shorter ones never changes. After it come `reserve` spare columns. Keys and values
lie channel by channel: on CPU that makes one query's products faster than token by token (values of 12 heads of 24,
length 465, one thread: 9 against 13 us).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.cache.stores.base import Places, slots_of
from sparsemm.errors import InputError
from sparsemm.kernels.buckets import Bucket, plan
from sparsemm.kernels.torch_decode import attend, mask_view, token_view


class FlatStore:
    """Room for `lengths` [R, Hkv] tokens and `reserve` more each; `like` gives head_dim, dtype, device."""

    def __init__(self, lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> None:
        self.rows, self.heads = lengths.shape
        self.reserve = reserve
        self.width = like.shape[-1]
        self.initial = lengths.flatten()  # [S], S = R * Hkv, row-major as everything per sequence
        ordered, order = torch.sort(self.initial, stable=True)
        token_bytes = 2 * self.width * like.element_size()
        self.buckets = plan(ordered.tolist(), reserve, token_bytes, like.device.type)
        self.order: torch.Tensor | None = None  # sequence at each place of the storage; None: as they come
        self.inverse: torch.Tensor | None = None
        places = torch.arange(len(order), device=like.device)
        if len(self.buckets) > 1:
            self.order, self.inverse = order, torch.empty_like(order)
            self.inverse[order] = places
            places = self.inverse
        self.starts = (
            self._ends(like.device)[places] - self.initial
        )  # [S] slot of each sequence's first token
        slots = sum(bucket.capacity * bucket.count for bucket in self.buckets)
        # Zeros, not empty: what is masked still meets a weight of 0, and 0 * NaN is NaN.
        self.tokens = like.new_zeros(2 * slots * self.width)
        self.bias = like.new_zeros(slots)  # -inf in front of a sequence and on pads
        self.grown = 0  # columns appended, pads counted
        self.padded: torch.Tensor | None = None  # int64 [R] pads among the appended; None when there are none

    def _ends(self, device: torch.device) -> torch.Tensor:
        """Slot after the last kept token of each place of the storage, int64 [S]."""
        ends = [torch.arange(b.count, device=device) * b.capacity + b.base + b.length for b in self.buckets]
        return torch.cat(ends) if ends else torch.zeros(0, dtype=torch.int64, device=device)

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens held now, int64 [R, Hkv]."""
        held = self.initial.view(self.rows, self.heads) + self.grown
        return held if self.padded is None else held - self.padded[:, None]

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, room to append, padding inside buckets, and the mask."""
        return sum(t.numel() * t.element_size() for t in (self.tokens, self.bias))

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] tokens take, padding and spare room left out."""
        return int(kept.sum()) * 2 * self.width * self.tokens.element_size()

    def fill(self, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence."""
        at = slots_of(self.starts, self.initial)
        self.bias.fill_(float("-inf"))
        self.bias[at] = 0.0 if bias is None else bias
        turned = keys.new_zeros(len(self.bias), self.width)
        for first, source in ((0, keys), (self.width, values)):
            turned[at] = source
            for bucket in self.buckets:
                column = token_view(self.tokens, self.width, bucket, 0, bucket.length)
                column[:, first : first + self.width].copy_(
                    _by_token(turned, bucket)[:, : bucket.length].transpose(1, 2)
                )
        for bucket in self.buckets:
            mask_view(self.bias, bucket, bucket.length, self.reserve).zero_()

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with what stands at `at` in full keys and values [B, Hkv, T, D]."""
        self.fill(key[at], value[at])

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) are masked.

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
        new = torch.cat((key, value), -1).view(rows * heads, count, 2 * width).transpose(1, 2)
        new = self._ordered(new)  # [S, 2D, q]
        for bucket in self.buckets:
            own = new if len(self.buckets) == 1 else new.narrow(0, bucket.first, bucket.count)
            token_view(self.tokens, width, bucket, bucket.length + self.grown, count).copy_(own)
        if valid is not None:
            bias = self.bias.new_zeros(rows, count).masked_fill(~valid, float("-inf"))
            bias = self._ordered(bias.repeat_interleave(heads, 0))
            for bucket in self.buckets:
                part, column = slice(bucket.first, bucket.first + bucket.count), bucket.length + self.grown
                mask_view(self.bias, bucket, column, count).copy_(bias[part].unsqueeze(1))
            pads = (~valid).sum(-1)
            self.padded = pads if self.padded is None else self.padded + pads
        self.grown += count

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended: query [R, Hq, q, D] -> [R, q, Hq, D].

        The query heads of a KV head are the rows of one matrix, so its keys are read once for all of them.
        """
        out = self._attended(query, scaling, None)
        return out.view(query.shape).transpose(1, 2)

    def attend_part(self, query: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
        """As `attend`, to be merged with attention over other tokens: [S, M, D] and, float32 [S, M], the
        logarithm of the softmax's denominator (-inf, and 0 as attention, where nothing is seen)."""
        sums: list[torch.Tensor] = []
        out = self._attended(query, scaling, sums)
        seen = torch.cat(sums)
        if self.inverse is not None:
            seen = seen.index_select(0, self.inverse)
        return out.masked_fill((seen == float("-inf")).unsqueeze(-1), 0.0), seen

    def _attended(self, query: torch.Tensor, scaling: float, sums: list[torch.Tensor] | None) -> torch.Tensor:
        """Attention [S, group * q, D], row-major sequences; `sums` in storage order."""
        count, width = query.shape[2:]
        out = attend(
            self._ordered(query.reshape(self.rows * self.heads, -1, width)),
            self.tokens,
            self.bias,
            self.buckets,
            scaling=scaling,
            grown=self.grown,
            fresh=count,
            masked=self.padded is not None,
            sums=sums,
        )
        return out if self.inverse is None else out.index_select(0, self.inverse)

    def _ordered(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sequences [S, ...] in the storage's order."""
        return tensor if self.order is None else tensor.index_select(0, self.order)

    @classmethod
    def combine(cls, parts: Sequence[tuple[FlatStore, torch.Tensor | None]], reserve: int) -> FlatStore:
        """A new store with the given rows (int64 indexes, None for all) of several stores, copied once."""
        lengths, sources, padded = [], [], []
        for store, rows in parts:
            held = (store.initial + store.grown).view(store.rows, store.heads)  # pads counted: one run each
            starts = store.starts.view(store.rows, store.heads)
            pads = held.new_zeros(store.rows) if store.padded is None else store.padded
            if rows is not None:
                held, starts, pads = held[rows], starts[rows], pads[rows]
            lengths.append(held)
            sources.append(slots_of(starts.flatten(), held.flatten()))
            padded.append(pads)
        stores = [store for store, _ in parts]
        made = cls(torch.cat(lengths), reserve, stores[0].tokens.new_empty(0, stores[0].width))
        tokens = torch.cat([store._by_slot()[at] for store, at in zip(stores, sources)])  # [N, 2D]
        bias = torch.cat([store.bias[at] for store, at in zip(stores, sources)])
        keys, values = tokens.tensor_split(2, dim=-1)
        made.fill(keys, values, bias)
        if any(store.padded is not None for store in stores):
            made.padded = torch.cat(padded)
        return made

    def _by_slot(self) -> torch.Tensor:
        """Keys and values token by token, [slots, 2D], a copy."""
        turned = self.tokens.new_zeros(len(self.bias), 2 * self.width)
        for bucket in self.buckets:
            length = bucket.length + self.grown
            held = token_view(self.tokens, self.width, bucket, 0, length)
            _by_token(turned, bucket)[:, :length].copy_(held.transpose(1, 2))
        return turned


def _by_token(turned: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    """A bucket's part of [slots, C] that lies token by token: [n, capacity, C]."""
    part = turned[bucket.base : bucket.base + bucket.count * bucket.capacity]
    return part.view(bucket.count, bucket.capacity, -1)
