"""The kernels of ragged decode attention, which `triton_decode.decode` launches. Importing this module needs triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _write(new_key, new_value, key, value, real):  # type: ignore[no-untyped-def]
    """Store a new token's key and value, and return them in float32; both loads are issued before the first store."""
    k = tl.load(new_key, mask=real, other=0.0)
    v = tl.load(new_value, mask=real, other=0.0)
    tl.store(key, k, mask=real)
    tl.store(value, v, mask=real)
    return k.to(tl.float32), v.to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def split_group(  # type: ignore[no-untyped-def]
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
):
    """One chunk of one sequence: normalised partial output [GROUP, WIDTH] and its log-sum-exp, in float32.

    Queries of the group, padded to ROWS >= 16, are multiplied with the keys as a matrix.
    """
    program = tl.program_id(0)
    sequence = tl.load(sequences + program).to(tl.int64)
    chunk = tl.load(chunks + program)
    length = tl.load(lengths + sequence)
    if chunk == 0:
        # Other programs still read `lengths`, so the new length goes to `used`; `combine` copies it to `lengths`.
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
            if length < begin + CHUNK:  # the new token belongs to this chunk: write it and start from it
                spot = (start + length) * WIDTH + channels
                new_key = new_keys + row * key_row + head * key_head + channels
                new_value = new_values + row * value_row + head * value_head + channels
                token_key, token_value = _write(new_key, new_value, keys + spot, values + spot, real)
                maximum = tl.sum(q.to(tl.float32) * token_key[None, :], 1) * scaling
                weight = weight + 1.0
                out = out + token_value[None, :]
        end = tl.minimum(begin + CHUNK, length)
        for block in tl.range(begin, end, BLOCK, num_stages=4):
            tokens = block + tl.arange(0, BLOCK)
            held = tokens < end
            spots = (start + tokens)[:, None] * WIDTH + channels[None, :]
            mask = held[:, None] & real[None, :]
            k = tl.load(keys + spots, mask=mask, other=0.0)  # [BLOCK, PADDED]
            v = tl.load(values + spots, mask=mask, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scaling
            scores = tl.where(held[None, :], scores, float("-inf"))  # [ROWS, BLOCK]
            above = tl.maximum(maximum, tl.max(scores, 1))
            rescale = tl.exp(maximum - above)
            p = tl.exp(scores - above[:, None])
            weight = weight * rescale + tl.sum(p, 1)
            out = out * rescale[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
            maximum = above
        part = (tl.load(first + sequence) + chunk).to(tl.int64) * GROUP + heads
        tl.store(part_lse + part, maximum + tl.log(weight), mask=heads < GROUP)
        tl.store(part_out + part[:, None] * WIDTH + channels[None, :], out / weight[:, None], mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def split_one(  # type: ignore[no-untyped-def]
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
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    FRESH: tl.constexpr,
):
    """`split_group` for a group of one query head.

    Every slot of a block has its own running softmax; they are merged after the loop. Reductions over the block inside
    the loop would take more instructions than an H200 can issue while it loads the block.
    """
    program = tl.program_id(0)
    sequence = tl.load(sequences + program).to(tl.int64)
    chunk = tl.load(chunks + program)
    length = tl.load(lengths + sequence)
    if chunk == 0:
        # Other programs still read `lengths`, so the new length goes to `used`; `combine` copies it to `lengths`.
        tl.store(used + sequence, length + FRESH)
    begin = chunk * CHUNK
    if begin < length + FRESH:
        row = sequence // HEADS
        head = sequence % HEADS
        start = tl.load(starts + sequence).to(tl.int64)
        slots = tl.arange(0, BLOCK)
        channels = tl.arange(0, PADDED)
        real = channels < WIDTH
        # The maximum of a slot without tokens is -1e30, finite to avoid NaN: exp2 of its difference to a real score
        # is 0, so the slot's weight vanishes when the slots are merged.
        q = tl.load(query + row * query_row + head * query_head + channels, mask=real, other=0.0)
        q = q.to(tl.float32) * (scaling * 1.4426950408889634)  # 1 / ln 2: powers of 2 below
        maximum = tl.full([BLOCK], -1e30, tl.float32)
        weight = tl.zeros([BLOCK], tl.float32)
        out = tl.zeros([BLOCK, PADDED], tl.float32)
        if FRESH:  # noqa: SIM102  known at compile time, the next one only in the kernel
            if length < begin + CHUNK:  # the new token belongs to this chunk: write it and start from it
                spot = (start + length) * WIDTH + channels
                new_key = new_keys + row * key_row + head * key_head + channels
                new_value = new_values + row * value_row + head * value_head + channels
                token_key, token_value = _write(new_key, new_value, keys + spot, values + spot, real)
                score = tl.sum(q * token_key, 0)
                maximum = tl.where(slots == 0, score, maximum)
                weight = tl.where(slots == 0, 1.0, weight)
                out = tl.where((slots == 0)[:, None], token_value[None, :], out)
        end = tl.minimum(begin + CHUNK, length)
        for block in tl.range(begin, end, BLOCK, num_stages=4):
            tokens = block + slots
            held = tokens < end
            spots = (start + tokens)[:, None] * WIDTH + channels[None, :]
            mask = held[:, None] & real[None, :]
            k = tl.load(keys + spots, mask=mask, other=0.0)  # [BLOCK, PADDED]
            v = tl.load(values + spots, mask=mask, other=0.0)
            scores = tl.where(held, tl.sum(q[None, :] * k.to(tl.float32), 1), -1e30)
            above = tl.maximum(maximum, scores)
            rescale = tl.exp2(maximum - above)
            p = tl.exp2(scores - above)
            weight = weight * rescale + p
            out = out * rescale[:, None] + p[:, None] * v.to(tl.float32)
            maximum = above
        top = tl.max(maximum, 0)
        rescale = tl.exp2(maximum - top)
        total = tl.sum(weight * rescale, 0)
        merged = tl.sum(out * rescale[:, None], 0) / total
        part = (tl.load(first + sequence) + chunk).to(tl.int64)
        tl.store(part_lse + part, (top + tl.log2(total)) * 0.6931471805599453)
        tl.store(part_out + part * WIDTH + channels, merged, mask=real)


@triton.jit  # type: ignore[untyped-decorator]
def combine(  # type: ignore[no-untyped-def]
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
    """Merge the chunks of one query head by their log-sum-exps; zeros for a sequence without tokens."""
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
        rescale = tl.exp(maximum - above)
        p = tl.exp(lse - above)
        parts = tl.load(
            part_out + part[:, None] * WIDTH + channels[None, :],
            mask=held[:, None] & real[None, :],
            other=0.0,
        )
        total = total * rescale + tl.sum(p[:, None] * parts, 0)
        weight = weight * rescale + tl.sum(p, 0)
        maximum = above
    total = total / tl.where(weight > 0.0, weight, 1.0)
    spot = (sequence * GROUP + member) * WIDTH + channels
    tl.store(out + spot, total.to(out.dtype.element_ty), mask=real)
