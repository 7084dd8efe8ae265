"""RaggedCache: a KV cache in which every (row, KV head) keeps its own number of tokens.

Prefill attends to the whole prompt; then each layer stores only the tokens that its selector keeps, and decode appends
in place (stores/). Full keys and values exist for one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers.cache_utils import Cache

from sparsemm.cache.layer import AttendingCacheLayer, AttentionInputs
from sparsemm.cache.stores.base import Store
from sparsemm.cache.stores.registry import combine_stores, make_store
from sparsemm.errors import InputError

_VALID = "sparsemm_valid"

# The tokens that a layer keeps of a prompt, bool [B, Hkv, T]:
# selector(query [B, Hq, T, D], key [B, Hkv, T, D], value [B, Hkv, T, D], valid bool [B, T] or None, scaling)
TokenSelector = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, float], torch.Tensor]


def valid_tokens(mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
    """Which of the newest `count` tokens are no pads, bool [B, count]; None when none is a pad.

    Args:
        mask: bool [B, 1, q, kv] as the attention function gets it, or None.
        count: tokens.
    """
    if mask is None:
        return None
    known: tuple[torch.Tensor | None] | None = getattr(mask, _VALID, None)
    if known is None:  # all layers of a step get the same mask: read it on the host once
        valid = mask[:, 0, -1, -count:]
        known = (None if bool(valid.all()) else valid,)
        setattr(mask, _VALID, known)
    return known[0]


class Session:
    """Whether the `compress` that made a cache is still open; one object for all its caches and their copies."""

    def __init__(self) -> None:
        self.open = True

    def __deepcopy__(self, memo: dict[int, object]) -> Session:
        return self


class RaggedLayer(AttendingCacheLayer):  # type: ignore[no-untyped-call]
    """One layer's ragged keys and values. KV heads are stored once, never repeated for their query heads.

    Args:
        selector: which prompt tokens a prefill keeps; None for a layer that is filled by `pack`.
        reserve: tokens that can be appended.
        seen: tokens seen so far, evicted ones included.
        session: the layer refuses use once it is closed; None: never.
        storage: a kind of store, see `make_store`.

    Attributes:
        max_length: tokens in all, prompt included; sets the reserve once a prefill knows its length. None: `reserve` is
            used.
        store: the stored keys and values; None before the prefill.
        kept: tokens kept when packed, int64 [R, Hkv].
    """

    supports_early_init = False

    def __init__(
        self,
        selector: TokenSelector | None = None,
        reserve: int = 0,
        seen: int = 0,
        session: Session | None = None,
        storage: str = "auto",
    ) -> None:
        super().__init__()
        self.selector = selector
        self.reserve = reserve
        self.max_length: int | None = None
        self.seen = seen
        self.session = session
        self.storage = storage
        self.store: Store | None = None
        self.kept = torch.zeros(0, 0, dtype=torch.int64)
        self._pending = False

    # Called by transformers

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new keys and values, marked: the attention function gives them to `attend`, which stores them.

        Raises:
            InputError: when nothing attended to the previous ones, or the session is closed.
        """
        if self._pending or (self.session is not None and not self.session.open):
            raise InputError(
                "this ragged cache is used without the sparsemm attention; generate inside compress(...)"
            )
        self._pending = True
        return super().update(key_states, value_states)

    def get_seq_length(self) -> int:
        """Tokens seen, evicted ones included: positions count from here."""
        return self.seen

    def reset(self) -> None:
        """Forget everything: the next call is a prefill."""
        self.is_initialized = self._pending = False
        self.store = None
        self.seen = 0

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        raise InputError("a ragged cache cannot follow beam search; generate with num_beams=1")

    @property
    def batch_size(self) -> int:
        return -1 if self.store is None else self.store.rows

    # Filling

    def pack(
        self,
        key: torch.Tensor,
        value: torch.Tensor,
        kept: torch.Tensor,
        *,
        source: torch.Tensor | None = None,
        reserve: int | None = None,
    ) -> None:
        """Store the kept tokens of full keys and values; the layer can then decode.

        Args:
            key: [B, Hkv, T, D] after RoPE.
            value: [B, Hkv, T, D].
            kept: bool [R, Hkv, T].
            source: int64 [R], the sample that row r is taken from; default: row r from sample r.
            reserve: tokens that can be appended; default: the layer's own.

        Raises:
            InputError: for shapes that do not fit.
        """
        rows = kept.shape[0]
        if source is None:
            source = torch.arange(key.shape[0], device=key.device)
        if kept.dtype != torch.bool or kept.shape[1:] != key.shape[1:3] or source.shape != (rows,):
            raise InputError(
                f"kept {tuple(kept.shape)} and source {tuple(source.shape)} do not fit keys "
                f"{tuple(key.shape)}; give bool [R, Hkv, T] and one source sample a row"
            )
        self.reserve = self.reserve if reserve is None else reserve
        self.kept = kept.sum(-1)
        self.store = make_store(self.kept, self.reserve, key, kind=self.storage)
        row, head, token = kept.nonzero(as_tuple=True)  # sequence by sequence, tokens in order
        self.store.take(key, value, (source[row], head, token))
        self.is_initialized = True

    def combine(self, parts: Sequence[tuple[RaggedLayer, torch.Tensor | None]], reserve: int) -> RaggedLayer:
        """A layer like this one with the given rows of several layers, copied once.

        Args:
            parts: layers, each with the rows to take, int64 indexes (None: all).
            reserve: tokens that can be appended.
        """
        stores = [(layer.filled(), rows) for layer, rows in parts]
        seen = max(layer.seen for layer, _ in parts)
        made = RaggedLayer(self.selector, reserve, seen, self.session, self.storage)
        made.store = combine_stores(stores, reserve)
        made.kept = torch.cat([layer.kept if rows is None else layer.kept[rows] for layer, rows in parts])
        made.is_initialized = True
        return made

    def filled(self) -> Store:
        """The store; InputError when nothing was packed yet."""
        if self.store is None:
            raise InputError("this ragged cache is empty; run a prefill or pack every layer first")
        return self.store

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values kept when packed, as they are stored."""
        return self.filled().bytes_of(self.kept)

    # Attention

    def attend(self, inputs: AttentionInputs) -> torch.Tensor:
        """Attention [B, q, Hq, D]: at prefill causal, then the kept tokens are packed; later over the stored tokens."""
        self._pending = False
        query, key, value = inputs.query, inputs.key, inputs.value
        count = query.shape[2]
        valid = valid_tokens(inputs.mask, count)
        if self.store is not None:
            self.store.append(key, value, valid)
            out = self.store.attend(query, inputs.scaling)
        elif self.selector is not None:
            out = inputs.causal_attention()
            reserve = None if self.max_length is None else max(self.max_length - count, 0)
            kept = self.selector(query, key, value, valid, inputs.scaling)
            self.pack(key, value, kept, reserve=reserve)
        else:
            self.filled()
            raise AssertionError("unreachable")
        self.seen += count
        return out


class RaggedCache(Cache):
    """A cache of RaggedLayers, filled by a prefill through selectors or by `pack` of every layer.

    Args:
        num_layers: text layers of the model.
        selectors: one a layer, for a prefill through this cache.
        reserve: tokens that can be appended.
        seen: prompt tokens, for a cache that is packed.
        session: the cache refuses use once it is closed; None: never.
        storage: a kind of store, see `make_store`.
    """

    def __init__(
        self,
        num_layers: int,
        selectors: Sequence[TokenSelector] | None = None,
        *,
        reserve: int = 0,
        seen: int = 0,
        session: Session | None = None,
        storage: str = "auto",
    ) -> None:
        each = selectors if selectors is not None else [None] * num_layers
        self.session = session
        self.ragged = [RaggedLayer(selector, reserve, seen, session, storage) for selector in each]
        super().__init__(layers=list(self.ragged))

    @property
    def kept(self) -> torch.Tensor:
        """Tokens kept at prefill, int64 [L, R, Hkv]."""
        device = self.ragged[0].kept.device  # layers may be spread over devices
        return torch.stack([layer.kept.to(device) for layer in self.ragged])

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values kept at prefill, all layers and rows."""
        return sum(layer.cache_bytes for layer in self.ragged)

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated, all layers."""
        return sum(layer.filled().reserved_bytes for layer in self.ragged)

    def limit(self, max_length: int) -> None:
        """Reserve space for `max_length` tokens in all, prompt included, at the prefill that will fill the cache."""
        for layer in self.ragged:
            layer.max_length = max_length

    def grow(self, tokens: int) -> None:
        """Reserve space for `tokens` more in every layer; copies a layer only if it has too little."""
        for index, layer in enumerate(self.ragged):
            if layer.store is None:
                layer.reserve = max(layer.reserve, tokens)
            elif layer.store.grown + tokens > layer.store.reserve:
                self._replace(index, layer.combine([(layer, None)], tokens))

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep only these rows (int64 indexes), for example those still generating; they are copied."""
        for index, layer in enumerate(self.ragged):
            left = layer.filled().reserve - layer.filled().grown
            self._replace(index, layer.combine([(layer, rows)], left))

    @classmethod
    def combine(cls, caches: Sequence[RaggedCache], *, reserve: int) -> RaggedCache:
        """One cache with the rows of all `caches`, in order; they may have seen different numbers of tokens."""
        made = cls(len(caches[0].ragged), storage=caches[0].ragged[0].storage)
        for index, layer in enumerate(list(made.ragged)):
            made._replace(index, layer.combine([(cache.ragged[index], None) for cache in caches], reserve))
        return made

    @property
    def filled(self) -> bool:
        """Whether every layer was filled with a prompt."""
        return all(layer.store is not None for layer in self.ragged)

    def _replace(self, index: int, layer: RaggedLayer) -> None:
        self.ragged[index] = layer
        self.layers[index] = layer
