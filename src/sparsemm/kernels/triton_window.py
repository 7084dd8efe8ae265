"""The window's mean attention to the tokens before it, in Triton, without storing attention weights.

Importing this module needs triton. Two launches read the keys once each: `_statistics` computes maximum and sum of
every query's softmax over chunks of keys, `_mean` computes the weights with them and averages over the queries.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from sparsemm.kernels.device import on_device_of

_BLOCK = 64  # keys read at once
_CHUNKS = (128, 2048)  # keys of one program: least and most
_PROGRAMS = 1024  # target
_MERGED = 16  # chunks whose statistics are merged at once


def takes(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether the kernels support this window of queries [B, Hq, w, D] and these keys [B, Hkv, T, D]."""
    alike = query.dtype == key.dtype and query.stride(-1) == key.stride(-1) == 1
    return alike and query.shape[2] <= 128 and key.shape[-1] <= 256 and key.element_size() <= 4


@triton.jit  # type: ignore[untyped-decorator]
def _window(  # type: ignore[no-untyped-def]
    query,
    sequence,
    query_batch,
    query_head,
    query_row,
    rows,
    channels,
    HEADS: tl.constexpr,
    WINDOW: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """A query head's window of queries [ROWS, PADDED]."""
    own = query + (sequence // HEADS) * query_batch + (sequence % HEADS) * query_head
    inside = (rows < WINDOW)[:, None] & (channels < WIDTH)[None, :]
    return tl.load(own + rows[:, None] * query_row + channels[None, :], mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _logits(  # type: ignore[no-untyped-def]
    q, key_base, key_token, tokens, end, rows, channels, scaling, past, WIDTH: tl.constexpr
):
    """Scaled products [ROWS, BLOCK], -inf where a query may not attend; padded rows are masked like the last query."""
    inside = (tokens < end)[:, None] & (channels < WIDTH)[None, :]
    k = tl.load(
        key_base + tokens.to(tl.int64)[:, None] * key_token + channels[None, :], mask=inside, other=0.0
    )
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
    seen = (tokens[None, :] <= past + rows[:, None]) & (tokens < end)[None, :]
    return tl.where(seen, scores, float("-inf"))


@triton.jit(do_not_specialize=["past"])  # type: ignore[untyped-decorator]
def _statistics(  # type: ignore[no-untyped-def]
    query,
    key,
    part_max,
    part_sum,
    scaling,
    past,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_token,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Maximum and sum of exponentials of every window query over one chunk of keys, [ROWS] each."""
    sequence = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, ROWS)
    channels = tl.arange(0, PADDED)
    q = _window(query, sequence, query_batch, query_head, query_row, rows, channels, HEADS, WINDOW, WIDTH)
    keys = key + (sequence // HEADS) * key_batch + (sequence % HEADS // GROUP) * key_head
    begin = tl.program_id(1) * CHUNK
    end = tl.minimum(begin + CHUNK, past + WINDOW)
    maximum = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for block in tl.range(begin, end, BLOCK, num_stages=3):
        tokens = block + tl.arange(0, BLOCK)
        scores = _logits(q, keys, key_token, tokens, end, rows, channels, scaling, past, WIDTH)
        above = tl.maximum(maximum, tl.max(scores, 1))
        base = tl.where(above == float("-inf"), 0.0, above)  # a chunk after the query
        total = total * tl.exp(maximum - base) + tl.sum(tl.exp(scores - base[:, None]), 1)
        maximum = above
    part = (sequence * tl.num_programs(1) + tl.program_id(1)) * ROWS + rows
    tl.store(part_max + part, maximum)
    tl.store(part_sum + part, total)


@triton.jit(do_not_specialize=["past"])  # type: ignore[untyped-decorator]
def _mean(  # type: ignore[no-untyped-def]
    query,
    key,
    part_max,
    part_sum,
    out,
    scaling,
    past,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_token,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    MERGED: tl.constexpr,
):
    """Mean over the window's queries of their attention to one chunk of the past."""
    sequence = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, ROWS)
    channels = tl.arange(0, PADDED)
    q = _window(query, sequence, query_batch, query_head, query_row, rows, channels, HEADS, WINDOW, WIDTH)
    keys = key + (sequence // HEADS) * key_batch + (sequence % HEADS // GROUP) * key_head
    chunks = tl.num_programs(1)
    maximum = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(0, chunks, MERGED):
        merged = first + tl.arange(0, MERGED)
        at = (sequence * chunks + merged[:, None]) * ROWS + rows[None, :]
        held = (merged < chunks)[:, None] & (rows >= 0)[None, :]
        tops = tl.load(part_max + at, mask=held, other=float("-inf"))
        sums = tl.load(part_sum + at, mask=held, other=0.0)
        above = tl.maximum(
            maximum, tl.max(tops, 0)
        )  # finite from the first chunk on: every query attends to token 0
        total = total * tl.exp(maximum - above) + tl.sum(sums * tl.exp(tops - above[None, :]), 0)
        maximum = above
    base = maximum + tl.log(total)
    begin = tl.program_id(1) * CHUNK
    end = tl.minimum(begin + CHUNK, past)
    for block in tl.range(begin, end, BLOCK, num_stages=3):
        tokens = block + tl.arange(0, BLOCK)
        scores = _logits(q, keys, key_token, tokens, end, rows, channels, scaling, past, WIDTH)
        weights = tl.where((rows < WINDOW)[:, None], tl.exp(scores - base[:, None]), 0.0)
        tl.store(out + sequence * past + tokens, tl.sum(weights, 0) / WINDOW, mask=tokens < end)


def window_attention(query: torch.Tensor, key: torch.Tensor, scaling: float) -> torch.Tensor:
    """Attention of the newest queries to the tokens before the window, averaged over queries and the GQA group.

    The softmax includes the visible tokens of the window.

    Args:
        query: [B, Hq, w, D] of the last w positions; D contiguous, no pads.
        key: [B, Hkv, T, D], T > w, of the same dtype; D contiguous.
        scaling: factor on the products of queries and keys.

    Returns:
        float32 [B, Hkv, T - w].
    """
    batch, heads, window, width = query.shape
    kv_heads, past = key.shape[1], key.shape[2] - window
    sequences, rows = batch * heads, max(16, triton.next_power_of_2(window))
    chunk = triton.next_power_of_2(max(1, sequences * (past + window) // _PROGRAMS))
    chunk = min(max(chunk, _CHUNKS[0]), _CHUNKS[1])
    chunks = triton.cdiv(past + window, chunk)
    part_max = torch.empty((sequences, chunks, rows), dtype=torch.float32, device=key.device)
    part_sum = torch.empty_like(part_max)
    out = torch.empty((batch, heads, past), dtype=torch.float32, device=key.device)
    sizes = {"HEADS": heads, "GROUP": heads // kv_heads, "WINDOW": window, "ROWS": rows, "WIDTH": width}
    sizes |= {"PADDED": max(16, triton.next_power_of_2(width)), "BLOCK": _BLOCK, "CHUNK": chunk}
    strides = (*query.stride()[:3], *key.stride()[:3])
    grid = (sequences, chunks)
    with on_device_of(key):
        _statistics[grid](query, key, part_max, part_sum, scaling, past, *strides, **sizes, num_warps=4)
        _mean[grid](
            query, key, part_max, part_sum, out, scaling, past, *strides, **sizes, MERGED=_MERGED, num_warps=4
        )
    return out.view(batch, kv_heads, -1, past).mean(2)
