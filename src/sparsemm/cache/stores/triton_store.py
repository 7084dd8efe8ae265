"""TritonStore: the keys and values of one layer for the Triton kernel, token by token at fixed addresses.

Importing this module needs triton. Each sequence, one per (row, KV head), has its kept tokens followed by its reserved
slots. The number of filled slots is a device tensor that the kernel advances, so a step captured in a CUDA graph can be
replayed without the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.cache.stores.base import Places, check_room, check_rows, slots_of
from sparsemm.errors import InputError
from sparsemm.kernels.triton_decode import Sequences, decode, work_list

_COPIED_BYTES = 1 << 26  # of keys copied into the storage at once

Fresh = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


class TritonStore:
    """Keys and values by the Triton kernel (a `Store`).

    Args:
        lengths: int64 [R, Hkv] tokens to fill in.
        reserve: tokens that can be appended to each sequence.
        like: a tensor of the head size (last dimension), dtype and device.
    """

    def __init__(self, lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> None:
        self.rows, self.heads = lengths.shape
        self.reserve = reserve
        self.width = like.shape[-1]
        self.initial = lengths.flatten().to(device=like.device, dtype=torch.int32)  # [S], S = R * Hkv
        self.counts = self.initial.clone()  # tokens stored, int32 [S]; the kernel advances it
        self.used = torch.zeros_like(self.counts)  # the kernel's scratch, int32 [S]
        capacities = (self.initial + reserve).tolist()
        self.starts = torch.tensor([0, *capacities], device=like.device).cumsum(0)[:-1]  # int64 [S]
        self.work = work_list(capacities, like.device)
        self.keys = like.new_empty((sum(capacities), self.width))
        self.values = like.new_empty((sum(capacities), self.width))
        self._grown = 0
        self._fresh: Fresh | None = None  # appended, not yet written: `attend` writes what it reads

    @property
    def grown(self) -> int:
        """Tokens appended to each sequence, pads counted. Setting it drops the newest; only where none was a pad."""
        return self._grown

    @grown.setter
    def grown(self, count: int) -> None:
        self._fresh = None
        self._grown = count
        self.counts.copy_(self.initial + count)

    def count_grown(self, count: int) -> None:
        """Set only the host's count of appended tokens: a replayed graph advances only the device's."""
        self._grown = count

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens stored now, int64 [R, Hkv]."""
        self._write()
        return self.counts.view(self.rows, self.heads).long()

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens and reserved slots."""
        return self.keys.nbytes + self.values.nbytes

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] tokens take, without reserved slots."""
        return int(kept.sum()) * 2 * self.width * self.keys.element_size()

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence."""
        at = slots_of(self.starts, self.initial.long())
        self.keys[at] = keys
        self.values[at] = values

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with the tokens at the places `at` of full keys and values [B, Hkv, T, D], in blocks of _COPIED_BYTES.

        A copy of a whole layer's keys and values would count in the peak memory of a full cache.
        """
        slots = slots_of(self.starts, self.initial.long())
        block = max(1, _COPIED_BYTES // (self.width * self.keys.element_size()))
        for begin in range(0, len(slots), block):
            part = slice(begin, begin + block)
            source = (at[0][part], at[1][part], at[2][part])
            self.keys[slots[part]] = key[source]
            self.values[slots[part]] = value[source]

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Append new tokens [R, Hkv, q, D], of which pads (valid bool [R, q] False) are not stored.

        They are written in place by the next `attend`.

        Raises:
            InputError: before anything changes, by `check_rows` and `check_room`.
        """
        check_rows(self, key)
        self._write()
        self.advance(key.shape[2])
        self._fresh = (key, value, valid)

    def advance(self, count: int) -> None:
        """Count `count` tokens as appended, which are or will be written; InputError by `check_room`."""
        check_room(self, count)
        self._grown += count

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended: query [R, Hq, q, D] -> [R, q, Hq, D].

        Several tokens (a later turn's question) go through the kernel one after another, each seeing those before it.
        """
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            if query.shape[2] != 1:
                raise InputError("several queries need the tokens they belong to; append them first")
            return self._decode(query[:, :, 0], scaling, None)[:, None]
        key, value, valid = fresh
        outputs = []
        for step in range(query.shape[2]):
            outputs.append(self._decode(query[:, :, step], scaling, (key[:, :, step], value[:, :, step])))
            if valid is not None:  # the kernel stored this step's pads: the next token overwrites them
                self.counts -= (~valid[:, step]).to(torch.int32).repeat_interleave(self.heads)
        return outputs[0][:, None] if len(outputs) == 1 else torch.stack(outputs, 1)

    def _decode(
        self, query: torch.Tensor, scaling: float, new: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        stored = Sequences(self.keys, self.values, self.starts, self.counts, self.used, self.work)
        return decode(query, stored, scaling, new)

    def _write(self) -> None:
        """Write the tokens that were appended but not yet attended to."""
        if self._fresh is None:
            return
        (key, value, valid), self._fresh = self._fresh, None
        rows, heads, count, _ = key.shape
        real = torch.ones(rows, count, dtype=torch.bool, device=key.device) if valid is None else valid
        place = (self.starts + self.counts).view(rows, heads, 1) + (real.cumsum(-1) - 1)[:, None]
        kept = real[:, None].expand(rows, heads, count)
        self.keys[place[kept]] = key[kept]
        self.values[place[kept]] = value[kept]
        self.counts += real.sum(-1, dtype=torch.int32).repeat_interleave(heads)

    @classmethod
    def combine(cls, parts: Sequence[tuple[TritonStore, torch.Tensor | None]], reserve: int) -> TritonStore:
        """A new store with the given rows (int64 indexes, None for all) of several stores, copied once."""
        lengths, keys, values = [], [], []
        for store, rows in parts:
            held, starts = store.lengths, store.starts.view(store.rows, store.heads)
            if rows is not None:
                held, starts = held[rows], starts[rows]
            at = slots_of(starts.flatten(), held.flatten())
            lengths.append(held)
            keys.append(store.keys[at])
            values.append(store.values[at])
        made = cls(torch.cat(lengths), reserve, parts[0][0].keys)
        made.fill(torch.cat(keys), torch.cat(values))
        return made
