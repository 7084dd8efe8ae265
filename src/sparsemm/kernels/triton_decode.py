"""Ragged decode attention in Triton: every (row, KV head) is a sequence of its own length in one flat storage.

Importing this module needs triton. Two launches: `_split` gives one program a chunk of one sequence, so that a head
of 30,000 tokens becomes many equal programs beside 250 short heads; `_combine` merges a sequence's chunks by their
log-sum-exp. `_split` also writes the new token, and the lengths are device tensors that the kernels advance: the
same launch arguments serve every step, as a CUDA graph needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from sparsemm.errors import InputError

WIDTHS = (64, 80, 96, 128)  # head sizes that are tested; any other up to 256 works too
_CHUNKS = (64, 1024)  # tokens of one program: least and most
_PROGRAMS_PER_PROCESSOR = 8  # aimed at, so that all are busy to the end
_BLOCK_BYTES = 64  # tokens read at once, times bytes of one number: more does not fit the registers
_MERGED = 64  # chunks that `_combine` reads at once


@dataclass(frozen=True)
class WorkList:
    """Which program reads which chunk of which sequence. Built once from capacities; lengths may grow up to them.

    sequence, chunk: int32 [W], whole chunks first; first: int32 [S], where a sequence's partial results begin.
    """

    sequence: torch.Tensor
    chunk: torch.Tensor
    first: torch.Tensor
    tokens: int  # of one chunk


def work_list(capacities: Sequence[int], device: torch.device) -> WorkList:
    """The programs of one decode step for sequences of at most these lengths."""
    tokens = chunk_tokens(sum(capacities), processors(device))
    most = torch.tensor(capacities, dtype=torch.int32)
    counts = (most + tokens - 1) // tokens
    first = counts.cumsum(0, dtype=torch.int32) - counts
    sequence = torch.repeat_interleave(torch.arange(len(most), dtype=torch.int32), counts)
    chunk = torch.arange(len(sequence), dtype=torch.int32) - first[sequence]
    # The longest work first: what starts last is then short, and no program is waited for.
    order = (most[sequence] - chunk * tokens).clamp(max=tokens).argsort(descending=True, stable=True)
    # One copy to the device: each is a wait of the host at every layer of a prefill.
    tables = torch.cat([sequence[order], chunk[order], first]).to(device)
    work = len(sequence)
    return WorkList(tables[:work], tables[work : 2 * work], tables[2 * work :], tokens)


def chunk_tokens(total: int, units: int) -> int:
    """Tokens a program reads when `total` tokens are shared among `units` multiprocessors: a power of two."""
    aimed = max(1, total // (units * _PROGRAMS_PER_PROCESSOR))
    return min(max(1 << (aimed - 1).bit_length(), _CHUNKS[0]), _CHUNKS[1])


def processors(device: torch.device) -> int:
    """Multiprocessors of a CUDA device; elsewhere 1."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@triton.jit  # type: ignore[untyped-decorator]
def _split(  # type: ignore[no-untyped-def]
    query,
    new_keys,
    new_values,
    keys,
    values,
    starts,
    lengths,
    used,
    sequences,
    chunks,
    first,
    part_out,
    part_lse,
    scaling,
    query_row,
    query_head,
    key_row,
    key_head,
    value_row,
    value_head,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    FRESH: tl.constexpr,
    DOT: tl.constexpr,
):
    """One chunk of one sequence: normalised partial output [GROUP, WIDTH] and its log-sum-exp, in float32."""
    program = tl.program_id(0)
    sequence = tl.load(sequences + program).to(tl.int64)
    chunk = tl.load(chunks + program)
    length = tl.load(lengths + sequence)
    if chunk == 0:
        # `lengths` is still being read by other programs: `_combine` copies this over it.
        tl.store(used + sequence, length + FRESH)
    begin = chunk * CHUNK
    if begin < length + FRESH:
        row = sequence // HEADS
        head = sequence % HEADS
        start = tl.load(starts + sequence).to(tl.int64)
        heads = tl.arange(0, ROWS)  # query heads of the group, padded to what a matrix product takes
        channels = tl.arange(0, PADDED)
        real = channels < WIDTH
        inside = (heads[:, None] < GROUP) & real[None, :]
        at = query + row * query_row + (head * GROUP + heads[:, None]) * query_head + channels[None, :]
        q = tl.load(at, mask=inside, other=0.0)  # [ROWS, PADDED]
        maximum = tl.full([ROWS], float("-inf"), tl.float32)
        weight = tl.zeros([ROWS], tl.float32)
        out = tl.zeros([ROWS, PADDED], tl.float32)
        if FRESH:  # noqa: SIM102  known at compile time, the next one only in the kernel
            if length < begin + CHUNK:  # the new token falls into this chunk: write it and start from it
                new_key = tl.load(new_keys + row * key_row + head * key_head + channels, mask=real, other=0.0)
                new_value = tl.load(
                    new_values + row * value_row + head * value_head + channels, mask=real, other=0.0
                )
                spot = (start + length) * WIDTH + channels
                tl.store(keys + spot, new_key, mask=real)
                tl.store(values + spot, new_value, mask=real)
                maximum = tl.sum(q.to(tl.float32) * new_key.to(tl.float32)[None, :], 1) * scaling
                weight = weight + 1.0
                out = out + new_value.to(tl.float32)[None, :]
        end = tl.minimum(begin + CHUNK, length)
        for block in tl.range(begin, end, BLOCK, num_stages=4):
            tokens = block + tl.arange(0, BLOCK)
            held = tokens < end
            spots = (start + tokens)[:, None] * WIDTH + channels[None, :]
            mask = held[:, None] & real[None, :]
            k = tl.load(keys + spots, mask=mask, other=0.0)  # [BLOCK, PADDED]
            v = tl.load(values + spots, mask=mask, other=0.0)
            if DOT:
                scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
            else:
                scores = tl.sum(q.to(tl.float32)[:, None, :] * k.to(tl.float32)[None, :, :], 2) * scaling
            scores = tl.where(held[None, :], scores, float("-inf"))  # [ROWS, BLOCK]
            above = tl.maximum(maximum, tl.max(scores, 1))
            fade = tl.exp(maximum - above)
            p = tl.exp(scores - above[:, None])
            weight = weight * fade + tl.sum(p, 1)
            if DOT:
                out = out * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
            else:
                out = out * fade[:, None] + tl.sum(p[:, :, None] * v.to(tl.float32)[None, :, :], 1)
            maximum = above
        part = (tl.load(first + sequence) + chunk).to(tl.int64) * GROUP + heads
        tl.store(part_lse + part, maximum + tl.log(weight), mask=heads < GROUP)
        tl.store(part_out + part[:, None] * WIDTH + channels[None, :], out / weight[:, None], mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _combine(  # type: ignore[no-untyped-def]
    part_out,
    part_lse,
    lengths,
    used,
    first,
    out,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNK: tl.constexpr,
    MERGED: tl.constexpr,
):
    """Merge the chunks of one query head's sequence; a sequence without any token gives zeros."""
    sequence = tl.program_id(0).to(tl.int64)
    member = tl.program_id(1)
    length = tl.load(used + sequence)
    if member == 0:
        tl.store(lengths + sequence, length)
    count = (length + CHUNK - 1) // CHUNK
    channels = tl.arange(0, PADDED)
    real = channels < WIDTH
    base = tl.load(first + sequence).to(tl.int64)
    maximum = tl.full([], float("-inf"), tl.float32)
    weight = tl.full([], 0.0, tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    for block in range(0, count, MERGED):
        chunks = block + tl.arange(0, MERGED)
        held = chunks < count
        part = (base + chunks) * GROUP + member
        lse = tl.load(part_lse + part, mask=held, other=float("-inf"))
        above = tl.maximum(maximum, tl.max(lse, 0))
        fade = tl.exp(maximum - above)
        p = tl.exp(lse - above)
        parts = tl.load(
            part_out + part[:, None] * WIDTH + channels[None, :],
            mask=held[:, None] & real[None, :],
            other=0.0,
        )
        total = total * fade + tl.sum(p[:, None] * parts, 0)
        weight = weight * fade + tl.sum(p, 0)
        maximum = above
    total = total / tl.where(weight > 0.0, weight, 1.0)
    spot = (sequence * GROUP + member) * WIDTH + channels
    tl.store(out + spot, total.to(out.dtype.element_ty), mask=real)


def decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    starts: torch.Tensor,
    lengths: torch.Tensor,
    used: torch.Tensor,
    work: WorkList,
    scaling: float,
    new: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention of one query token a row over its own keys and values, [R, Hq, D].

    query [R, Hq, D]; keys, values: flat [slots, D]; starts, lengths int64 or int32 [S], S = R * Hkv, row-major;
    used int32 [S]: scratch. new: keys and values [R, Hkv, D] of the token itself: written in place at
    start + length and attended to, and `lengths` grows by one. The caller sees to it that there is room and that
    no length exceeds the capacity that `work` was built for. The last dimension of every tensor is contiguous.
    Nothing is copied to the host; sums are in float32.
    """
    rows, query_heads, width = query.shape
    heads = len(lengths) // rows
    group = query_heads // heads
    if width > 256 or query.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise InputError(
            f"the Triton kernel takes head sizes up to 256 in float16, bfloat16 or float32, got {width}"
            f" in {query.dtype}; use the torch store"
        )
    dot = group > 1
    padded = max(16, triton.next_power_of_2(width))
    key, value = new if new is not None else (query, query)
    out = torch.empty((rows, query_heads, width), dtype=query.dtype, device=query.device)
    parts = len(work.sequence)
    part_out = torch.empty((parts, group, width), dtype=torch.float32, device=query.device)
    part_lse = torch.empty((parts, group), dtype=torch.float32, device=query.device)
    if parts:
        _split[(parts,)](
            query,
            key,
            value,
            keys,
            values,
            starts,
            lengths,
            used,
            work.sequence,
            work.chunk,
            work.first,
            part_out,
            part_lse,
            scaling,
            *(stride for tensor in (query, key, value) for stride in tensor.stride()[:2]),
            HEADS=heads,
            GROUP=group,
            ROWS=max(16, triton.next_power_of_2(group)) if dot else 1,
            WIDTH=width,
            PADDED=padded,
            BLOCK=_BLOCK_BYTES // query.element_size(),
            CHUNK=work.tokens,
            FRESH=int(new is not None),
            DOT=dot,
            num_warps=4,
        )
    _combine[(len(lengths), group)](
        part_out,
        part_lse,
        lengths,
        used,
        work.first,
        out,
        GROUP=group,
        WIDTH=width,
        PADDED=padded,
        CHUNK=work.tokens,
        MERGED=_MERGED,
        num_warps=4,
    )
    return out
