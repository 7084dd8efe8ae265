"""RaggedCache: a KV cache in which every (row, KV head) keeps its own number of tokens.

Per layer the kept keys and values lie in two flat tensors [N, D]. Sequences, one per (row, KV head), are ordered by
length and cut into a few buckets (kernels/buckets.py), so that decode reads them in place as dense batches. Each
sequence has `reserve` spare rows after its kept ones; a decoded token is written into the next spare row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from sparsemm.errors import InputError
from sparsemm.kernels.buckets import Bucket, plan
from sparsemm.kernels.torch_decode import attend

# Set on the key tensor that `update` returns: how the attention function finds the layer that must do the work.
OWNER = "sparsemm_owner"

# chooser(query [B, Hq, T, D], key [B, Hkv, T, D], valid [B, T] or None, scaling) -> kept bool [B, Hkv, T]
Chooser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, float], torch.Tensor]


def valid_tokens(mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
    """Which of the newest `count` tokens are no padding: bool [B, count]; None when all are.

    mask: bool [B, 1, q, kv] as the attention function gets it, or None.
    """
    if mask is None:
        return None
    valid = mask[:, 0, -1, -count:]
    return None if bool(valid.all()) else valid


class RaggedLayer(CacheLayerMixin):
    """One layer's ragged keys and values. KV heads are stored once, never repeated for their query heads."""

    is_sliding = False
    supports_early_init = False

    def __init__(self, chooser: Chooser | None = None, reserve: int = 0, seen: int = 0) -> None:
        """chooser: what to keep at prefill (None: the owner calls `pack`); reserve: tokens that may be appended."""
        super().__init__()
        self.chooser = chooser
        self.reserve = reserve
        self.seen = seen
        self.closed = False
        self._pending = False

    # What transformers asks of a cache layer

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: the storage is made when it is known what is kept."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hand the new keys and values on unchanged, marked; the attention function stores them (`attend`)."""
        if self.closed or self._pending:
            raise InputError(
                "this ragged cache was used without the sparsemm attention; generate inside `with compress(...)`"
            )
        self._pending = True
        setattr(key_states, OWNER, self)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.seen + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens seen, dropped ones included: positions count from here."""
        return self.seen

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        """Forget everything: the next call is a prefill."""
        self.is_initialized = False
        self._pending = False
        self.keys = self.values = None
        self.seen = 0

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        raise InputError("a ragged cache cannot follow beam search; generate with num_beams=1")

    # Storage

    def pack(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        kept: torch.Tensor,
        *,
        source: torch.Tensor | None = None,
        reserve: int | None = None,
    ) -> None:
        """Store the kept tokens of full keys and values; the layer is then ready to decode.

        key, value [B, Hkv, T, D]; kept bool [R, Hkv, T]; source int64 [R]: the sample that row r is taken from
        (default: row r is sample r); reserve: tokens that may be appended (default: the layer's own).
        """
        batch, heads, tokens, width = key.shape
        rows = kept.shape[0]
        if source is None:
            source = torch.arange(batch, device=key.device)
        if kept.dtype != torch.bool or kept.shape[1:] != (heads, tokens) or source.shape != (rows,):
            raise InputError(
                f"kept {tuple(kept.shape)} with source {tuple(source.shape)} does not fit keys {tuple(key.shape)}; "
                "give bool [R, Hkv, T] and one source sample per row"
            )
        if reserve is not None:
            self.reserve = reserve
        self._allocate(kept.sum(-1).flatten(), heads, key.new_empty(0, width))
        row, head, token = kept.nonzero(as_tuple=True)  # row-major: sequence by sequence, tokens in order
        at = _positions(self.starts, self.initial)
        sample = source[row]
        self._keys[at] = key[sample, head, token]
        self._values[at] = value[sample, head, token]
        self.bias[at] = 0.0

    def _allocate(self, lengths: torch.Tensor, heads: int, like: torch.Tensor) -> None:
        """Plan and zero the storage for sequences of `lengths` [S] (row-major over rows and KV heads)."""
        width, device = like.shape[1], like.device
        ordered, order = torch.sort(lengths, stable=True)
        self.buckets: list[Bucket] = plan(
            ordered.tolist(), self.reserve, 2 * width * like.element_size(), device.type
        )
        capacity = torch.tensor([b.capacity for b in self.buckets for _ in range(b.count)], device=device)
        starts = torch.empty_like(lengths)
        starts[order] = capacity.cumsum(0) - capacity
        total = sum(b.capacity * b.count for b in self.buckets)
        # Zeros, not empty: masked rows are still multiplied by a weight of 0, and 0 * NaN is NaN.
        self._keys, self._values = like.new_zeros(total, width), like.new_zeros(total, width)
        self.bias = like.new_full((total,), float("-inf"))
        self.heads = heads
        self.initial = lengths  # [S] kept tokens of each sequence at allocation
        self.starts = starts  # [S] first row of each sequence
        self.next = starts + lengths  # [S] row of the next appended token
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.shape[0], device=device)
        straight = bool((inverse == torch.arange(order.shape[0], device=device)).all())
        self.order, self.inverse = (None, None) if straight else (order, inverse)
        self.grown = 0
        self.uneven = False
        self.kept = lengths.view(-1, heads).clone()
        self.keys, self.values = self._keys, self._values
        self.is_initialized = True
        self._pending = False

    @property
    def batch_size(self) -> int:
        return int(self.kept.shape[0]) if self.is_initialized else -1

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens held now, int64 [R, Hkv]."""
        return (self.next - self.starts).view(-1, self.heads)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values kept at prefill."""
        return int(self.kept.sum()) * 2 * self._keys.shape[1] * self._keys.element_size()

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: kept tokens, room to append, padding to the bucket, and the mask."""
        return sum(t.numel() * t.element_size() for t in (self._keys, self._values, self.bias))

    @classmethod
    def combine(
        cls,
        parts: Sequence[tuple[RaggedLayer, torch.Tensor | None]],
        *,
        reserve: int,
        seen: int | None = None,
    ) -> RaggedLayer:
        """One layer holding the given rows (int64 indexes, None for all) of several layers, copied once."""
        first = parts[0][0]
        made = cls(first.chooser, reserve, max(layer.seen for layer, _ in parts) if seen is None else seen)
        picked = [
            (
                layer,
                (layer.next - layer.starts).view(-1, layer.heads),
                layer.starts.view(-1, layer.heads),
                rows,
            )
            for layer, rows in parts
        ]
        chosen = [(a, n if r is None else n[r], s if r is None else s[r]) for a, n, s, r in picked]
        made._allocate(torch.cat([n for _, n, _ in chosen]).flatten(), first.heads, first._keys[:0])
        at = _positions(made.starts, made.initial)
        done = 0
        for layer, lengths, starts in chosen:
            source = _positions(starts.flatten(), lengths.flatten())
            target = at[done : done + source.shape[0]]
            made._keys[target] = layer._keys[source]
            made._values[target] = layer._values[source]
            made.bias[target] = 0.0
            done += source.shape[0]
        made.kept = torch.cat([layer.kept if r is None else layer.kept[r] for layer, r in parts])
        return made

    # Decode

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None = None) -> None:
        """Write new tokens in place, [R, Hkv, q, D]; pads (valid bool [R, q] False) take no row."""
        rows, heads, count, width = key.shape
        if (rows, heads) != tuple(self.kept.shape):
            raise InputError(
                f"{rows} rows of {heads} KV heads were decoded on a cache of {tuple(self.kept.shape)}; "
                "use the batch that the cache was filled with"
            )
        if self.grown + count > self.reserve:
            raise InputError(
                f"the ragged cache has room for {self.reserve} new tokens and {self.grown + count} were asked; "
                "reserve more (max_new_tokens plus the tokens of later turns)"
            )
        if count == 1 and valid is None:
            self._keys.index_copy_(0, self.next, key.reshape(rows * heads, width))
            self._values.index_copy_(0, self.next, value.reshape(rows * heads, width))
            self.bias.index_fill_(0, self.next, 0.0)
            self.next += 1
        else:
            real = torch.ones(rows, count, dtype=torch.bool, device=key.device) if valid is None else valid
            real = real[:, None].expand(rows, heads, count)
            at = (self.next.view(rows, heads, 1) + real.cumsum(-1) - 1)[real]
            self._keys[at] = key[real]
            self._values[at] = value[real]
            self.bias[at] = 0.0
            self.next += real.sum(-1).flatten()
            self.uneven = self.uneven or valid is not None
        self.grown += count

    def decode(self, query: torch.Tensor, scaling: float, valid: torch.Tensor | None = None) -> torch.Tensor:
        """Attention of the newest tokens' queries [R, Hq, q, D] over the cache (append first): [R, q, Hq, D]."""
        rows, query_heads, count, width = query.shape
        group = query_heads // self.heads
        q = (query * scaling).reshape(rows * self.heads, group * count, width)
        limits = None
        if count > 1 or valid is not None:
            real = (
                torch.ones(rows, count, dtype=torch.int64, device=q.device) if valid is None else valid.long()
            )
            before = self.lengths - real.sum(-1, keepdim=True)  # [R, Hkv]
            limits = before[:, :, None, None] + real.cumsum(-1)[:, None, None]
            limits = limits.expand(rows, self.heads, group, count).reshape(rows * self.heads, group * count)
        if self.order is not None:
            q = q.index_select(0, self.order)
            limits = None if limits is None else limits.index_select(0, self.order)
        out = attend(
            q,
            self._keys,
            self._values,
            self.bias,
            self.buckets,
            grown=self.grown,
            masked=self.uneven,
            limits=limits,
        )
        if self.inverse is not None:
            out = out.index_select(0, self.inverse)
        return out.view(rows, query_heads, count, width).transpose(1, 2)

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        *,
        scaling: float,
        dropout: float = 0.0,
    ) -> torch.Tensor:
        """What the attention function does with this layer: [B, q, Hq, D]. Prefill attends in full, then packs."""
        self._pending = False
        count = query.shape[2]
        valid = valid_tokens(mask, count)
        if self.is_initialized:
            self.append(key, value, valid)
            out = self.decode(query, scaling, valid)
        else:
            out, _ = sdpa_attention_forward(module, query, key, value, mask, dropout=dropout, scaling=scaling)
            if self.chooser is None:
                raise InputError(
                    "this ragged cache has nothing to decode on; pack every layer before the first step"
                )
            self.pack(key, value, self.chooser(query, key, valid, scaling))
        self.seen += count
        return out


class RaggedCache(Cache):
    """A cache of RaggedLayers. Fill it through `compress`, or `pack` each layer and decode by hand."""

    def __init__(
        self,
        num_layers: int,
        choosers: Sequence[Chooser] | None = None,
        *,
        reserve: int = 0,
        seen: int = 0,
    ) -> None:
        """choosers: one a layer, for a prefill through this cache; seen: tokens before a decode loop by hand."""
        layers: list[RaggedLayer] = [
            RaggedLayer(choosers[index] if choosers else None, reserve, seen) for index in range(num_layers)
        ]
        self.ragged = layers
        super().__init__(layers=list(layers))

    @property
    def kept(self) -> torch.Tensor:
        """Tokens kept at prefill, int64 [L, R, Hkv]."""
        return torch.stack([layer.kept for layer in self.ragged])

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values kept at prefill, over all layers and rows."""
        return sum(layer.cache_bytes for layer in self.ragged)

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated, over all layers."""
        return sum(layer.reserved_bytes for layer in self.ragged)

    def grow(self, tokens: int) -> None:
        """Make room for `tokens` more in every layer (copies the cache when the reserve is too small)."""
        for index, layer in enumerate(self.ragged):
            if layer.is_initialized and layer.grown + tokens > layer.reserve:
                self._replace(index, RaggedLayer.combine([(layer, None)], reserve=tokens))
            elif not layer.is_initialized:
                layer.reserve = max(layer.reserve, tokens)

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep only these rows (int64 indexes, repeats allowed), for example those that are still generating."""
        for index, layer in enumerate(self.ragged):
            left = layer.reserve - layer.grown
            self._replace(index, RaggedLayer.combine([(layer, rows)], reserve=left))

    @classmethod
    def combine(cls, caches: Sequence[RaggedCache], *, reserve: int) -> RaggedCache:
        """One cache with the rows of all `caches` in order; each may have seen another number of tokens."""
        made = cls(len(caches[0].ragged))
        for index in range(len(made.ragged)):
            parts = [(cache.ragged[index], None) for cache in caches]
            made._replace(index, RaggedLayer.combine(parts, reserve=reserve))
        return made

    def close(self) -> None:
        """Refuse further use; sizes stay readable."""
        for layer in self.ragged:
            layer.closed = True

    def _replace(self, index: int, layer: RaggedLayer) -> None:
        self.ragged[index] = layer
        self.layers[index] = layer


def _positions(starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Rows of all tokens of all sequences, sequence by sequence: int64 [sum(lengths)]."""
    ends = lengths.cumsum(0)
    rank = torch.arange(int(ends[-1]), device=starts.device)
    return rank + (starts - (ends - lengths)).repeat_interleave(lengths, output_size=rank.shape[0])
