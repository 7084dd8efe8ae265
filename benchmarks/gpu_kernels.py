"""The decode attention alone, on one packed cache: our kernel beside those of torch, flash_attn and FlashInfer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from sparsemm.cache.ragged import RaggedCache
from sparsemm.cache.stores.base import slots_of
from sparsemm.generation.graphs import capture_graph

_CALLS = 20  # steps timed together
_CHECKED = 64  # sequences of the first layer whose results are compared
_SCALE = 0.1

Run = Callable[
    [], list[torch.Tensor]
]  # one step: the attention of every layer, rows and query heads in order


class _Packed(NamedTuple):
    """A layer in which every (row, KV head) is a sequence of one KV head."""

    query: torch.Tensor  # [S, G, D]
    keys: torch.Tensor  # [slots, 1, D]
    values: torch.Tensor  # [slots, 1, D]
    queries: torch.Tensor  # int32 [S + 1], where a sequence's queries begin
    offsets: torch.Tensor  # int32 [S + 1], where its slots begin
    lengths: torch.Tensor  # int32 [S]


def kernel_rows(
    cache: RaggedCache, model: Any, settings: Any, time: Callable[..., float]
) -> list[dict[str, Any]]:
    """One row a kernel: microseconds for the attention of all layers in one step, GB of K and V a second, and the
    error of the first layer's results, as a share of the norm of those of float32 sums.

    A kernel that is not installed, or refuses this cache, gives a row with its reason.
    """
    store: Any = cache.ragged[0].filled()
    if not hasattr(store, "counts"):
        return []
    text = model.config.get_text_config()
    generator = torch.Generator(device=store.keys.device).manual_seed(0)
    shape = (store.rows, int(text.num_attention_heads), 1, store.width)
    query = torch.randn(shape, generator=generator, device=store.keys.device).to(store.keys.dtype)
    expected = _expected(store, query)
    makers = {
        "ours": _ours,
        "sdpa": _sdpa,
        "varlen": _varlen,
        "flash_attn": _flash_attn,
        "flashinfer": _flashinfer,
    }
    rows = []
    for name in settings.kernels:
        row: dict[str, Any] = {"kernel": name, "status": "ok"}
        try:
            with torch.no_grad():
                run = makers[name](cache, query)
                row["error"] = _error(run()[0], expected)
                seconds = least_seconds(graphed(run, query.device), query.device, time)
            row |= {"us_all_layers": 1e6 * seconds, "gb_s": cache.cache_bytes / seconds / 1e9}
            for layer in cache.ragged:
                layer.filled().grown = 0
        except Exception as error:  # many kinds, from many packages: the reason is the result
            row["status"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        rows.append(row)
    return rows


def _expected(store: Any, query: torch.Tensor) -> torch.Tensor:
    """Attention of the first sequences in float32, [n * G, D]."""
    outs = []
    queries = query[:, :, 0].reshape(len(store.counts), -1, store.width)[:_CHECKED].float()
    for own, start, length in zip(queries, store.starts.tolist(), store.counts.tolist()):
        keys, values = (flat[start : start + length].float() for flat in (store.keys, store.values))
        outs.append((own @ keys.T * _SCALE).softmax(-1) @ values)
    return torch.cat(outs)


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    found = found.reshape(-1, expected.shape[-1])[: len(expected)].float()
    return float((found - expected).norm() / expected.norm())


def least_seconds(run: Callable[[], Any], device: torch.device, time: Callable[..., float]) -> float:
    """Of one call: the least of three times of many."""
    run()
    return min(time(device, lambda: [run() for _ in range(_CALLS)]) for _ in range(3)) / _CALLS


def _ours(cache: RaggedCache, query: torch.Tensor) -> Run:
    """Attention without a new token: the lengths stay, and any number of calls fit."""
    stores: list[Any] = [layer.filled() for layer in cache.ragged]
    return lambda: [store.attend(query, _SCALE) for store in stores]


def _sdpa(cache: RaggedCache, query: torch.Tensor) -> Run:
    """Dense attention: only for a cache whose sequences are all equally long (the full cache)."""
    views = []
    for layer in cache.ragged:
        store: Any = layer.filled()
        lengths = layer.kept.flatten().tolist()
        if len(set(lengths)) != 1:
            raise ValueError("the sequences differ in length")
        dense = (store.rows, store.heads, lengths[0] + store.reserve, store.width)
        views.append([flat.view(dense)[:, :, : lengths[0]] for flat in (store.keys, store.values)])
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda: [attend(query, k, v, scale=_SCALE, enable_gqa=True) for k, v in views]


def _packed(cache: RaggedCache, query: torch.Tensor, *, close: bool) -> list[_Packed]:
    """The layers' storage as it is; with `close` a copy without the spare room, for a kernel that takes no lengths."""
    layers = []
    for layer in cache.ragged:
        store: Any = layer.filled()
        sequences = len(store.counts)
        keys, values, ends = store.keys, store.values, [*store.starts.tolist()[1:], len(store.keys)]
        if close:
            slots = slots_of(store.starts, store.counts.long())
            keys, values, ends = keys[slots], values[slots], store.counts.cumsum(0).tolist()
        offsets = torch.tensor([0, *ends], dtype=torch.int32, device=query.device)
        queries = torch.arange(sequences + 1, device=query.device, dtype=torch.int32)
        own = query[:, :, 0].reshape(sequences, -1, store.width)
        layers.append(_Packed(own, keys[:, None], values[:, None], queries, offsets, store.counts))
    return layers


def _varlen(cache: RaggedCache, query: torch.Tensor) -> Run:
    from torch.nn.attention.varlen import varlen_attn

    # torch 2.10 takes neither lengths nor a word on groups (it allows them), 2.13 takes both.
    known = inspect.signature(varlen_attn).parameters
    by_length = "seqused_k" in known
    layers = _packed(cache, query, close=not by_length)
    longest = int(cache.kept.max())
    options: dict[str, Any] = {"scale": _SCALE} | ({"enable_gqa": True} if "enable_gqa" in known else {})

    def run() -> list[torch.Tensor]:
        outs = []
        for at in layers:
            lengths = {"seqused_k": at.lengths} if by_length else {}
            tables = (at.queries, at.offsets, 1, longest)
            outs.append(varlen_attn(at.query, at.keys, at.values, *tables, **options, **lengths))
        return outs

    return run


def _flash_attn(cache: RaggedCache, query: torch.Tensor) -> Run:
    import flash_attn

    layers = _packed(cache, query, close=True)
    longest = int(cache.kept.max())
    attend = flash_attn.flash_attn_varlen_func
    return lambda: [
        attend(at.query, at.keys, at.values, at.queries, at.offsets, 1, longest, softmax_scale=_SCALE)
        for at in layers
    ]


def _flashinfer(cache: RaggedCache, query: torch.Tensor) -> Run:
    """Paged decode with pages of one token: its tables name the slots of every (row, KV head)."""
    import flashinfer

    # What a call leaves in this buffer is read by the same call only: one serves all layers.
    workspace = torch.zeros(128 << 20, dtype=torch.uint8, device=query.device)
    steps = []
    for at, layer in zip(_packed(cache, query, close=False), cache.ragged):
        store: Any = layer.filled()
        slots = slots_of(store.starts, at.lengths.long()).to(torch.int32)
        offsets = torch.nn.functional.pad(at.lengths.cumsum(0), (1, 0)).to(torch.int32)
        group = at.query.shape[1]
        # Its other kernels are made for groups of 1, 2, 3, 4 and 8, and are slower for large ones.
        step = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=group > 2)
        last = torch.ones_like(at.lengths)
        sizes = (group, 1, store.width, 1)  # query heads, KV heads, head_dim, tokens a page
        step.plan(offsets, slots, last, *sizes, q_data_type=query.dtype, sm_scale=_SCALE)
        steps.append((step, at.query, (at.keys[:, None], at.values[:, None])))
    return lambda: [step.run(own, pages) for step, own, pages in steps]


def graphed(run: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """The calls of all layers as one CUDA graph; elsewhere as they are."""
    if device.type != "cuda":
        return run
    return capture_graph(run, run)[0].replay
