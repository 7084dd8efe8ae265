"""The engine's cache: one prompt's K and V stored once, any number of decoded rows that each see a part of it.

A row is one policy's cache of one sample. Packing every row's kept tokens into a cache of its own would store, and
read at every step, most tokens of a prompt dozens of times. Here a row is a mask over its sample's shared K and V, plus
its own new tokens. Evicted positions are at -inf before the softmax, which equals attention over the packed cache.
Only evaluation works like this: it needs answers alone. `compress` and the efficiency runs hold packed caches.

A pass feeds every row its own number of new tokens, or none; the model sees them as a batch of single tokens, so
nothing is padded but a row's own tokens here. Tokens that are not kept afterwards are overwritten by the next pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers.cache_utils import Cache

from sparsemm.cache.layer import AttendingCacheLayer, AttentionInputs
from sparsemm.evaluation.engine.fed import Fed, Part

_BLOCK = 16  # new tokens a row that storage starts with; it doubles when full
# Scores of several tokens a row that are computed at once. On a CPU they should stay in its cache: for 28 rows, 118
# columns and 12 heads, one token a row took 0.2 ms and four at once 2.6 ms (one thread of a busy machine).
_SCORES = {"cpu": 1 << 16, "cuda": 1 << 30}
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
    """Row-wise storage of decoded tokens, [R, Hkv, block, D], grown by doubling; zeros where nothing was written."""

    key: torch.Tensor
    value: torch.Tensor

    def write(self, key: torch.Tensor, value: torch.Tensor, fed: Fed) -> None:
        """Write new tokens, [N, Hkv, D], into their rows' slots."""
        while self.key.shape[2] < fed.columns:
            self.key = torch.cat([self.key, torch.zeros_like(self.key)], 2)
            self.value = torch.cat([self.value, torch.zeros_like(self.value)], 2)
        places = fed.on(key.device)
        self.key[places.rows, :, places.slots] = key
        self.value[places.rows, :, places.slots] = value


class EngineLayer(AttendingCacheLayer):  # type: ignore[no-untyped-call]
    """One layer's prompts and rows; the attention function passes it all new tokens of a pass at once.

    Attributes:
        prompts: the rows' groups, in the order of the rows.
        rows: R.
        fed: what the running pass feeds; the cache sets it.
    """

    def __init__(self, prompts: list[Prompt]) -> None:
        super().__init__()
        self.prompts = prompts
        self.rows = prompts[-1].stop
        self.fed: Fed | None = None
        self._fresh: _Fresh | None = None

    def attend(self, step: AttentionInputs) -> torch.Tensor:
        """Write the pass's tokens, K and V [N, Hkv, 1, D], and attend, [N, Hq, 1, D] -> [N, 1, Hq, D]."""
        assert step.query.shape[2] == 1, "the engine feeds every token as a row of its own"
        assert self.fed is not None, "EngineCache.feed comes first"
        key, value = step.key[:, :, 0], step.value[:, :, 0]
        if self._fresh is None:
            shape = (self.rows, key.shape[1], _BLOCK, key.shape[2])
            self._fresh = _Fresh(key.new_zeros(shape), value.new_zeros(shape))
        self._fresh.write(key, value, self.fed)
        return self._decode(step.query, step.scaling, self.fed, self._fresh)

    def _decode(self, query: torch.Tensor, scaling: float, fed: Fed, fresh: _Fresh) -> torch.Tensor:
        """Attention of all new tokens, [N, Hq, 1, D] -> [N, 1, Hq, D]."""
        tokens, heads, _, dim = query.shape
        used, kv_heads = fed.columns, fresh.key.shape[1]
        places = fed.on(query.device)
        grouped = (query * scaling).view(tokens, kv_heads, heads // kv_heads, dim)  # [N, Hkv, G, D]
        own = _own_products(grouped, fresh.key[:, :, :used].transpose(2, 3), places.parts)  # [N, Hkv, G, n]
        if places.hidden is not None:
            own.masked_fill_(places.hidden[:, None, None], float("-inf"))
        out = torch.empty_like(grouped)
        for prompt in self.prompts:
            first, last = fed.begins[prompt.start], fed.begins[prompt.stop]
            length = prompt.key.shape[2]
            single = fed.single(prompt.start, prompt.stop)
            block = max(_SCORES.get(query.device.type, _SCORES["cuda"]) // (heads * (length + used)), 1)
            for begin in range(first, last, last - first if single else block):
                part = slice(begin, last if single else min(begin + block, last))
                bias = prompt.bias
                if not single:  # a row's mask for each of its tokens
                    bias = bias.index_select(1, places.rows[part] - prompt.start)
                count = part.stop - begin
                folded = grouped[part].transpose(0, 1).reshape(kv_heads, -1, dim)  # [Hkv, C * G, D]
                scores = torch.bmm(folded, prompt.key).view(kv_heads, count, -1, length)
                scores += bias
                scores = torch.cat([scores, own[part].transpose(0, 1)], -1)  # [Hkv, C, G, N + n]
                weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
                seen = torch.bmm(weights.view(kv_heads, -1, length + used)[..., :length], prompt.value)
                out[part] = seen.view(kv_heads, count, -1, dim).transpose(0, 1)
                own[part] = weights[..., length:].transpose(0, 1)
        out += _own_products(own, fresh.value[:, :, :used], places.parts)
        return out.view(tokens, 1, heads, dim)

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep the rows of the given (ascending) numbers; K and V of a sample without rows are freed."""
        if self._fresh is not None:
            self._fresh = _Fresh(self._fresh.key[rows], self._fresh.value[rows])
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
        self.rows = start


def _own_products(tokens: torch.Tensor, rows: torch.Tensor, parts: Sequence[Part]) -> torch.Tensor:
    """Every token's [Hkv, G, x] times its row's matrix: [N, Hkv, G, x] and [R, Hkv, x, y] -> [N, Hkv, G, y]."""
    if parts[0].dense:  # one token of every row
        return tokens @ rows
    count, heads, group, width = tokens.shape
    out = tokens.new_empty(count, heads, group, rows.shape[-1])
    for part in parts:
        matrices = rows if part.rows is None else rows[part.rows]
        padded = tokens.new_zeros(len(matrices), part.most, heads, group, width)
        padded[part.row, part.step] = tokens[part.tokens]
        folded = padded.transpose(1, 2).reshape(len(matrices), heads, part.most * group, width)
        products = (folded @ matrices).view(len(matrices), heads, part.most, group, -1)
        out[part.tokens] = products[part.row, :, part.step]
    return out


class EngineCache(Cache):
    """EngineLayers over one set of rows.

    Before each forward pass call `feed`, after it `keep`.
    """

    def __init__(self, layers: list[EngineLayer]) -> None:
        super().__init__(layers=list(layers))
        self.engine_layers = layers
        self.used = [0] * layers[0].rows  # new tokens that every row holds
        self._fed: Fed | None = None

    def feed(self, counts: Sequence[int]) -> None:
        """Say how many tokens of every row the next forward pass feeds, row after row."""
        self._fed = Fed(counts, self.used)
        for layer in self.engine_layers:
            layer.fed = self._fed

    def keep(self, counts: Sequence[int]) -> None:
        """Keep the first so many of the tokens that the pass fed every row; the others were never there."""
        assert self._fed is not None
        assert all(0 <= kept <= fed for kept, fed in zip(counts, self._fed.counts, strict=True))
        self.used = [used + kept for used, kept in zip(self.used, counts, strict=True)]

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep the rows of the given (ascending) numbers, in every layer."""
        self.used = [self.used[row] for row in rows.tolist()]
        for layer in self.engine_layers:
            layer.keep_rows(rows.to(layer.prompts[0].key.device))
