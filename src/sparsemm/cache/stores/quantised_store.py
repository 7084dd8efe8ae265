"""QuantisedStore: the prompt's kept tokens in 8 or 4 bits, new tokens in full precision.

Kept tokens are stored in whole blocks (codes.py) from each sequence's first token on, so rows are copied between stores
as codes and nothing is quantised twice. New tokens go to a FlatStore that starts empty. The two attentions are merged
by their log-sum-exps. A bucket's codes are converted to numbers as it is read; the scales are applied to the queries
(for keys) and to the weights (for values), which are smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.cache.stores.base import Places, slots_of
from sparsemm.cache.stores.codes import BLOCK, Codes, empty_codes, numbers_of, quantise
from sparsemm.cache.stores.flat_store import FlatStore
from sparsemm.kernels.buckets import Bucket, plan

_SCALE_BYTES = 4  # float16 step and low
_CHANNELS, _TOKENS = 1, 2  # the dimension of [N, D, BLOCK] that a step is shared over


class QuantisedStore:
    """Kept tokens as integer codes, new ones as they are (a `Store`).

    Args:
        lengths: int64 [R, Hkv] tokens to fill in.
        reserve: tokens that can be appended to each sequence, in the dtype of `like`.
        like: a tensor of the head size (last dimension), dtype and device.
        bits: of a code, 8 or 4.
    """

    def __init__(self, lengths: torch.Tensor, reserve: int, like: torch.Tensor, bits: int) -> None:
        self.rows, self.heads = lengths.shape
        self.width, self.bits, self.reserve = like.shape[-1], bits, reserve
        self.initial = lengths.flatten()  # [S] quantised tokens
        self.blocks = (self.initial + BLOCK - 1) // BLOCK  # [S]
        ordered, order = torch.sort(self.blocks, stable=True)
        block_bytes = 2 * self.width * BLOCK * 4  # as float32, which the products read
        self.buckets = plan(ordered.tolist(), 0, block_bytes, like.device.type)  # counted in blocks
        self.order = order  # sequence at each place of the storage
        self.inverse = torch.empty_like(order)
        self.inverse[order] = torch.arange(len(order), device=order.device)
        starts = [torch.arange(b.count, device=order.device) * b.capacity + b.base for b in self.buckets]
        self.starts = torch.cat(starts)[self.inverse] if starts else self.blocks  # [S] first block
        total = sum(bucket.count * bucket.capacity for bucket in self.buckets)
        self.keys = empty_codes(total, self.width, bits, _TOKENS, like.device)
        self.values = empty_codes(total, self.width, bits, _CHANNELS, like.device)
        self.recent = FlatStore(torch.zeros_like(lengths), reserve, like)

    @property
    def grown(self) -> int:
        """Tokens appended, pads counted."""
        return self.recent.grown

    @grown.setter
    def grown(self, tokens: int) -> None:
        self.recent.grown = tokens

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens stored now, int64 [R, Hkv]."""
        return self.initial.view(self.rows, self.heads) + self.recent.lengths

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: codes, scales, padding of blocks and buckets, and the slots reserved for new tokens."""
        return self.keys.nbytes + self.values.nbytes + self.recent.reserved_bytes

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] tokens take.

        These are the codes, and the scales: one per token for values, one per channel and started block for keys.
        """
        tokens, blocks = int(kept.sum()), int(((kept + BLOCK - 1) // BLOCK).sum())
        codes = tokens * 2 * self.width * self.bits // 8
        return codes + _SCALE_BYTES * (tokens + blocks * self.width)

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Quantise the first tokens of all sequences [sum(lengths), D], sequence after sequence."""
        at = slots_of(self.starts * BLOCK, self.initial)
        slots = len(self.keys.codes) * BLOCK
        held = torch.zeros(slots, dtype=torch.bool, device=at.device)
        held[at] = True
        scratch = keys.new_zeros(slots, self.width)
        for name, source, dim in (("keys", keys, _TOKENS), ("values", values, _CHANNELS)):
            scratch[at] = source
            blocks = scratch.view(-1, BLOCK, self.width).transpose(1, 2)
            setattr(self, name, quantise(blocks, held.view(-1, BLOCK), self.bits, dim))

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with the tokens at the places `at` of full keys and values [B, Hkv, T, D]."""
        self.fill(key[at], value[at])

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place, in full precision; InputError as FlatStore.append."""
        self.recent.append(key, value, valid)

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended: query [R, Hq, q, D] -> [R, q, Hq, D]."""
        recent, recent_sum = self.recent.attend_part(query, scaling)
        ordered = query.reshape(self.rows * self.heads, -1, self.width).float()[self.order]
        parts = [self._attend_bucket(ordered, bucket, scaling) for bucket in self.buckets]
        kept, kept_sum = (torch.cat(pair)[self.inverse] for pair in zip(*parts))
        share = torch.sigmoid(kept_sum - recent_sum).unsqueeze(-1)  # of the softmax over both
        out = kept * share + recent.float() * (1 - share)
        return out.to(query.dtype).view(query.shape).transpose(1, 2)

    def _attend_bucket(
        self, ordered: torch.Tensor, bucket: Bucket, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention over a bucket's kept tokens, float32 [n, M, D], and the log-sum-exp of its scores [n, M]."""
        query = ordered[bucket.first : bucket.first + bucket.count] * scaling
        count, queries, width = query.shape
        if bucket.capacity == 0:
            return torch.zeros_like(query), query.new_full((count, queries), float("-inf"))
        at = slice(bucket.base, bucket.base + count * bucket.capacity)
        keys, values = self.keys, self.values
        each = (count, bucket.capacity)
        step, low = keys.step[at].float().view(*each, width), keys.low[at].float().view(*each, width)
        scaled = (query.unsqueeze(1) * step.unsqueeze(2)).flatten(0, 1)  # [n * blocks, M, D]
        scores = torch.bmm(scaled, numbers_of(keys.codes[at], self.bits)).view(*each, queries, BLOCK)
        scores = scores.transpose(1, 2) + torch.bmm(query, low.transpose(1, 2)).unsqueeze(-1)
        scores = scores.reshape(count, queries, -1)  # [n, M, blocks * BLOCK]
        lengths = self.initial[self.order[bucket.first : bucket.first + count]]
        behind = torch.arange(scores.shape[-1], device=scores.device) >= lengths[:, None]
        scores.masked_fill_(behind.unsqueeze(1), float("-inf"))
        sums = scores.logsumexp(-1)
        weights = torch.exp(scores - sums.clamp(min=torch.finfo(sums.dtype).min).unsqueeze(-1))
        step, low = (t[at].float().view(count, 1, -1) for t in (values.step, values.low))
        scaled = (weights * step).view(count, queries, *each[1:], BLOCK).transpose(1, 2).flatten(0, 1)
        out = torch.bmm(scaled, numbers_of(values.codes[at], self.bits).transpose(1, 2))
        return out.view(*each, queries, width).sum(1) + (weights * low).sum(-1, keepdim=True), sums

    @classmethod
    def combine(
        cls, parts: Sequence[tuple[QuantisedStore, torch.Tensor | None]], reserve: int
    ) -> QuantisedStore:
        """A new store with the given rows (int64 indexes, None for all) of several stores; codes are copied."""
        lengths: list[torch.Tensor] = []
        keys: list[Codes] = []
        values: list[Codes] = []
        for store, rows in parts:
            tables = (store.initial, store.starts, store.blocks)
            held, starts, blocks = (table.view(store.rows, store.heads) for table in tables)
            if rows is not None:
                held, starts, blocks = held[rows], starts[rows], blocks[rows]
            lengths.append(held)
            at = slots_of(starts.flatten(), blocks.flatten())
            keys.append(store.keys.take(at))
            values.append(store.values.take(at))
        first = parts[0][0]
        made = cls(torch.cat(lengths), 0, first.recent.tokens.new_empty(0, first.width), first.bits)
        at = slots_of(made.starts, made.blocks)
        for target, sources in ((made.keys, keys), (made.values, values)):
            fields = ("codes", "step", "low")
            target.put(at, Codes(*(torch.cat([getattr(part, name) for part in sources]) for name in fields)))
        made.reserve = reserve
        made.recent = FlatStore.combine([(store.recent, rows) for store, rows in parts], reserve)
        return made
