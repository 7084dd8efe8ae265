"""The engine's cache: one prompt's K and V stored once, any number of decoded rows that each see a part of it.

A row is one policy's cache of one sample. Packing every row's kept tokens into a cache of its own would store, and
read at every step, most tokens of a prompt dozens of times. Here a row is a mask over its sample's shared K and V, plus
its own new tokens. Evicted positions are at -inf before the softmax, which equals attention over the packed cache.
Only evaluation works like this: it needs answers alone. `compress` and the efficiency runs hold packed caches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from transformers.cache_utils import Cache

from sparsemm.cache.layer import AttendingCacheLayer, AttentionInputs

_BLOCK = 16  # new tokens a row that storage starts with; it doubles when full
_COPY_BELOW = 0.8  # a group of rows that sees no more than this share of a prompt gets a copy of that part


@dataclass
class Prompt:
    """The part of one sample's K and V in one layer that the rows [start, stop) of the batch see."""

    key: torch.Tensor  # [Hkv, D, N] so that scores are one batched product
    value: torch.Tensor  # [Hkv, N, D]
    bias: torch.Tensor  # [Hkv, C, 1, N], -inf where one of the C rows evicted a token, else 0
    start: int
    stop: int

    @classmethod
    def of(
        cls, key: torch.Tensor, value: torch.Tensor, dropped: torch.Tensor, start: int, columns: int
    ) -> Prompt:
        """A group's part of a sample.

        Args:
            key: the sample's whole [Hkv, D, N].
            value: [Hkv, N, D].
            dropped: the tokens that a row evicted, bool [Hkv, C, N].
            start: the group's first row in the batch.
            columns: the most tokens that a row sees in a head; if few, only the tokens that some row sees are stored.
        """
        heads, width, length = key.shape
        if columns <= _COPY_BELOW * length:
            seen = ~dropped.all(1)  # [Hkv, N]
            columns = int(seen.sum(-1).max())
            place = torch.argsort(seen.byte(), dim=-1, descending=True, stable=True)[:, :columns]
            key = key.gather(2, place[:, None].expand(heads, width, columns))
            value = value.gather(1, place[..., None].expand(heads, columns, width))
            dropped = dropped.gather(2, place[:, None].expand(heads, dropped.shape[1], columns))
        # Added to the scores: on CPU many times faster than a masked fill, whose branches are hard to predict.
        bias = key.new_zeros(dropped.shape).masked_fill_(dropped, float("-inf"))[:, :, None]
        return cls(key, value, bias, start, start + dropped.shape[1])


@dataclass
class _Fresh:
    """Row-wise storage of decoded tokens, [R, Hkv, block, D], grown by doubling."""

    key: torch.Tensor
    value: torch.Tensor
    used: int = 0

    def append(self, key: torch.Tensor, value: torch.Tensor) -> None:
        if self.used == self.key.shape[2]:
            self.key = torch.cat([self.key, torch.empty_like(self.key)], 2)
            self.value = torch.cat([self.value, torch.empty_like(self.value)], 2)
        self.key[:, :, self.used] = key[:, :, 0]
        self.value[:, :, self.used] = value[:, :, 0]
        self.used += 1


class EngineLayer(AttendingCacheLayer):  # type: ignore[no-untyped-call]
    """One layer's prompts and rows; the attention function passes it every row's newest token at once."""

    def __init__(self, prompts: list[Prompt]) -> None:
        super().__init__()
        self.prompts = prompts
        self.fresh: _Fresh | None = None

    def attend(self, step: AttentionInputs) -> torch.Tensor:
        """Append one token a row, K and V [R, Hkv, 1, D], and attend, [R, Hq, 1, D] -> [R, 1, Hq, D]."""
        assert step.query.shape[2] == 1, "the engine decodes one token a row and step"
        key, value = step.key, step.value
        if self.fresh is None:
            shape = (*key.shape[:2], _BLOCK, key.shape[3])
            self.fresh = _Fresh(key.new_empty(shape), value.new_empty(shape))
        self.fresh.append(key, value)
        return self.decode(step.query, step.scaling)

    def decode(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of every row's newest token, [R, Hq, 1, D] -> [R, 1, Hq, D]."""
        assert self.fresh is not None
        rows, heads, _, dim = query.shape
        used, kv_heads = self.fresh.used, self.fresh.key.shape[1]
        grouped = (query * scaling).view(rows, kv_heads, heads // kv_heads, dim)  # [R, Hkv, G, D]
        own = grouped @ self.fresh.key[:, :, :used].transpose(2, 3)  # [R, Hkv, G, n]
        out = torch.empty_like(grouped)
        for prompt in self.prompts:
            part = slice(prompt.start, prompt.stop)
            count, length = prompt.stop - prompt.start, prompt.key.shape[2]
            folded = grouped[part].transpose(0, 1).reshape(kv_heads, -1, dim)  # [Hkv, C * G, D]
            scores = torch.bmm(folded, prompt.key).view(kv_heads, count, -1, length)
            scores += prompt.bias
            scores = torch.cat([scores, own[part].transpose(0, 1)], -1)  # [Hkv, C, G, N + n]
            weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
            seen = torch.bmm(weights.view(kv_heads, -1, length + used)[..., :length], prompt.value)
            out[part] = seen.view(kv_heads, count, -1, dim).transpose(0, 1)
            own[part] = weights[..., length:].transpose(0, 1)
        out += own @ self.fresh.value[:, :, :used]
        return out.view(rows, 1, heads, dim)

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep the rows of the given (ascending) numbers; K and V of a sample without rows are freed."""
        if self.fresh is not None:
            self.fresh = _Fresh(self.fresh.key[rows], self.fresh.value[rows], self.fresh.used)
        left: list[Prompt] = []
        start = 0
        for prompt in self.prompts:
            mine = rows[(rows >= prompt.start) & (rows < prompt.stop)] - prompt.start
            if len(mine):
                same = len(mine) == prompt.stop - prompt.start
                bias = prompt.bias if same else prompt.bias[:, mine]
                left.append(replace(prompt, bias=bias, start=start, stop=start + len(mine)))
                start += len(mine)
        self.prompts = left


class EngineCache(Cache):
    """EngineLayers over one set of rows."""

    def __init__(self, layers: list[EngineLayer]) -> None:
        super().__init__(layers=list(layers))
        self.engine_layers = layers

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep the rows of the given (ascending) numbers, in every layer."""
        for layer in self.engine_layers:
            layer.keep_rows(rows)
