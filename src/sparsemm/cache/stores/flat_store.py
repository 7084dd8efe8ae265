"""FlatStore: the keys and values of one layer for plain torch operations.

The sequences, one per (row, KV head), are sorted by length and cut into buckets (kernels/buckets.py). In a bucket they
are aligned at their last column, so that a new token goes to the same column in all of them (one strided write in
place) and the mask over the padding in front never changes. `reserve` free columns follow. The layout is channel by
channel: on CPU one query's products are then faster than token by token (values of 12 heads of 24, length 465, one
thread: 9 against 13 us).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.cache.stores.base import Places, check_room, check_rows, slots_of
from sparsemm.kernels.buckets import Bucket, plan
from sparsemm.kernels.torch_decode import FlatTokens, attend, mask_view, token_view


class FlatStore:
    """Keys and values by torch operations (a `Store`).

    Args:
        lengths: int64 [R, Hkv] tokens to fill in.
        reserve: tokens that can be appended to each sequence.
        like: a tensor of the head size (last dimension), dtype and device.
    """

    def __init__(self, lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> None:
        self.rows, self.heads = lengths.shape
        self.reserve = reserve
        self.width = like.shape[-1]
        self.initial = lengths.flatten()  # [S], S = R * Hkv, row-major as everything per sequence
        ordered, order = torch.sort(self.initial, stable=True)
        token_bytes = 2 * self.width * like.element_size()
        self.buckets = plan(ordered.tolist(), reserve, token_bytes, like.device.type)
        self.order: torch.Tensor | None = None  # sequence at each place of the storage; None: row-major
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
        # Zeros, not empty: masked slots get a weight of 0, and 0 * NaN would be NaN.
        self.tokens = like.new_zeros(2 * slots * self.width)
        self.bias = like.new_zeros(slots)  # -inf in front of a sequence and on pads
        self.grown = 0  # columns appended, pads counted
        self.padded: torch.Tensor | None = None  # int64 [R] pads among the appended tokens; None: no pads

    def _ends(self, device: torch.device) -> torch.Tensor:
        """Slot after the last kept token of each place of the storage, int64 [S]."""
        ends = [torch.arange(b.count, device=device) * b.capacity + b.base + b.length for b in self.buckets]
        return torch.cat(ends) if ends else torch.zeros(0, dtype=torch.int64, device=device)

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens stored now, int64 [R, Hkv]."""
        held = self.initial.view(self.rows, self.heads) + self.grown
        return held if self.padded is None else held - self.padded[:, None]

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, reserved slots, padding inside buckets, and the mask."""
        return self.tokens.nbytes + self.bias.nbytes

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] tokens take, without padding and reserved slots."""
        return int(kept.sum()) * 2 * self.width * self.tokens.element_size()

    def fill(self, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence."""
        at = slots_of(self.starts, self.initial)
        self.bias.fill_(float("-inf"))
        self.bias[at] = 0.0 if bias is None else bias
        by_slot = keys.new_zeros(len(self.bias), self.width)
        for first, source in ((0, keys), (self.width, values)):
            by_slot[at] = source
            for bucket in self.buckets:
                column = token_view(self.tokens, self.width, bucket, 0, bucket.length)
                column[:, first : first + self.width].copy_(
                    _by_token(by_slot, bucket)[:, : bucket.length].transpose(1, 2)
                )
        for bucket in self.buckets:
            mask_view(self.bias, bucket, bucket.length, self.reserve).zero_()

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with the tokens at the places `at` of full keys and values [B, Hkv, T, D]."""
        self.fill(key[at], value[at])

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) are masked.

        Raises:
            InputError: before anything is written, by `check_rows` and `check_room`.
        """
        rows, heads, count, width = key.shape
        check_rows(self, key)
        check_room(self, count)
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

        The query heads of a GQA group are rows of one matrix: the keys are read once for all of them.
        """
        out = self._attended(query, scaling, None)
        return out.view(query.shape).transpose(1, 2)

    def attend_part(self, query: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
        """As `attend`, to be merged with attention over other tokens.

        Returns:
            Attention [S, M, D] and the log-sum-exp of its scores, float32 [S, M]; 0 and -inf where no token is visible.
        """
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
            FlatTokens(self.tokens, self.bias, self.buckets, self.grown, self.padded is not None),
            scaling=scaling,
            fresh=count,
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
            held = (store.initial + store.grown).view(store.rows, store.heads)  # pads counted: no gaps
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
        by_slot = self.tokens.new_zeros(len(self.bias), 2 * self.width)
        for bucket in self.buckets:
            length = bucket.length + self.grown
            held = token_view(self.tokens, self.width, bucket, 0, length)
            _by_token(by_slot, bucket)[:, :length].copy_(held.transpose(1, 2))
        return by_slot


def _by_token(by_slot: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    """A bucket's part of a tensor [slots, C], as a view [n, capacity, C]."""
    part = by_slot[bucket.base : bucket.base + bucket.count * bucket.capacity]
    return part.view(bucket.count, bucket.capacity, by_slot.shape[1])  # not -1: there may be no slots
