"""The decode attention alone, on one packed cache: our kernel beside those of torch, flash_attn and FlashInfer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sparsemm.cache import RaggedCache
from sparsemm.kernels.storage import slots_of

_CALLS = 20  # steps timed together


def kernel_rows(
    cache: RaggedCache, model: Any, settings: Any, time: Callable[..., float]
) -> list[dict[str, Any]]:
    """One row a kernel: microseconds for the attention of all layers in one step, and GB of K and V a second.

    A kernel that is not installed, or refuses this cache, gives a row with its reason.
    """
    store: Any = cache.ragged[0].filled()
    if not hasattr(store, "counts"):
        return []
    text = model.config.get_text_config()
    generator = torch.Generator(device=store.keys.device).manual_seed(0)
    shape = (store.rows, int(text.num_attention_heads), 1, store.width)
    query = torch.randn(shape, generator=generator, device=store.keys.device).to(store.keys.dtype)
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
                seconds = _least(makers[name](cache, query), query.device, time)
            row |= {
                "us_all_layers": 1e6 * seconds / _CALLS,
                "gb_s": cache.cache_bytes * _CALLS / seconds / 1e9,
            }
        except Exception as error:  # many kinds, from many packages: the reason is the result
            row["status"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        rows.append(row)
        for layer in cache.ragged:
            layer.filled().grown = 0
    return rows


def _least(run: Callable[[], Any], device: torch.device, time: Callable[..., float]) -> float:
    run()
    return min(time(device, lambda: [run() for _ in range(_CALLS)]) for _ in range(3))


def _ours(cache: RaggedCache, query: torch.Tensor) -> Callable[[], Any]:
    """Attention without a new token: the lengths stay, and any number of calls fit."""
    stores: list[Any] = [layer.filled() for layer in cache.ragged]
    return _graph(lambda: [store.attend(query, 0.1) for store in stores], query.device)


def _sdpa(cache: RaggedCache, query: torch.Tensor) -> Callable[[], Any]:
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
    return _graph(lambda: [attend(query, k, v, scale=0.1, enable_gqa=True) for k, v in views], query.device)


def _packed(cache: RaggedCache, query: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Every (row, KV head) as one sequence of one KV head: query [S, G, D], K, V [slots, 1, D], offsets, lengths."""
    layers = []
    for layer in cache.ragged:
        store: Any = layer.filled()
        sequences = len(store.counts)
        q = query[:, :, 0].reshape(sequences, -1, store.width)
        ends = torch.cat([store.starts, store.starts.new_tensor([len(store.keys)])]).to(torch.int32)
        ones = torch.arange(sequences + 1, device=query.device, dtype=torch.int32)
        layers.append((q, store.keys[:, None], store.values[:, None], ones, ends, store.counts))
    return layers


def _varlen(cache: RaggedCache, query: torch.Tensor) -> Callable[[], Any]:
    from torch.nn.attention.varlen import varlen_attn

    layers = _packed(cache, query)
    longest = int(cache.kept.max())

    def run() -> Any:
        return [
            varlen_attn(q, k, v, one, ends, 1, longest, scale=0.1, enable_gqa=True, seqused_k=used)
            for q, k, v, one, ends, used in layers
        ]

    return _graph(run, query.device)


def _flash_attn(cache: RaggedCache, query: torch.Tensor) -> Callable[[], Any]:
    import flash_attn

    layers = _packed(cache, query)
    # It takes offsets and no lengths: the spare room is read as well, as if it were full.
    longest = int(cache.kept.max()) + cache.ragged[0].filled().reserve

    def run() -> Any:
        return [
            flash_attn.flash_attn_varlen_func(q, k, v, one, ends, 1, longest, softmax_scale=0.1)
            for q, k, v, one, ends, _ in layers
        ]

    return _graph(run, query.device)


def _flashinfer(cache: RaggedCache, query: torch.Tensor) -> Callable[[], Any]:
    """Paged decode with pages of one token: its tables name the slots of every (row, KV head)."""
    import flashinfer

    # What a call leaves in this buffer is read by the same call only: one serves all layers.
    workspace = torch.empty(128 << 20, dtype=torch.uint8, device=query.device)
    steps = []
    for (q, k, v, _, _, used), layer in zip(_packed(cache, query), cache.ragged):
        store: Any = layer.filled()
        slots = slots_of(store.starts, used.long()).to(torch.int32)
        offsets = torch.nn.functional.pad(used.cumsum(0), (1, 0)).to(torch.int32)
        step = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD")
        last = torch.ones_like(used, dtype=torch.int32)
        sizes = (q.shape[1], 1, store.width, 1)  # query heads, KV heads, head_dim, tokens a page
        step.plan(offsets, slots, last, *sizes, q_data_type=q.dtype, sm_scale=0.1)
        steps.append((step, q, (k[:, None], v[:, None])))
    return _graph(lambda: [step.run(q, pages) for step, q, pages in steps], query.device)


def _graph(run: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """The calls of all layers as one CUDA graph; elsewhere as they are."""
    if device.type != "cuda":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
