"""The matrix-vector products of a one-row decode step, fused with the operations before and after them.

Importing this module needs triton. A program multiplies two tiles of weight rows with the whole vector, so that
operations on two rows (a rotary pair, gate and up) have both sums. An RMS norm in front needs no launch of its own: its
weight is applied channel by channel, its scale to the sums.

Sums are in float32. The normed vector is not rounded; everything else is rounded where the plain operations round.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from sparsemm.kernels.triton_fused import silu_times


@dataclass(frozen=True)
class Tiling:
    """How a product is tiled: weight rows of a tile, channels read at once, stages of loads, warps of a program."""

    rows: int = 4
    channels: int = 512
    stages: int = 4
    warps: int = 4


TILING = Tiling()  # the default
Linear = tuple[torch.Tensor, torch.Tensor | None]  # weight [out, in], bias [out]


@triton.jit  # type: ignore[untyped-decorator]
def _two_sums(  # type: ignore[no-untyped-def]
    vector,
    norm,
    low,
    high,
    epsilon,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    NORM: tl.constexpr,
):
    """Products of the normed vector with the rows that begin at the pointers low and high, float32 [TILE] each."""
    total_low = tl.zeros([TILE, BLOCK], tl.float32)
    total_high = tl.zeros([TILE, BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    for begin in tl.range(0, WIDTH, BLOCK, num_stages=STAGES):
        channels = begin + tl.arange(0, BLOCK)
        inside = channels < WIDTH
        a = tl.load(low[:, None] + channels[None, :], mask=inside[None, :], other=0.0)
        b = tl.load(high[:, None] + channels[None, :], mask=inside[None, :], other=0.0)
        x = tl.load(vector + channels, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            squares += x * x
            x *= tl.load(norm + channels, mask=inside, other=0.0).to(tl.float32)
        total_low += a.to(tl.float32) * x[None, :]
        total_high += b.to(tl.float32) * x[None, :]
    one = tl.sum(total_low, 1)
    two = tl.sum(total_high, 1)
    if NORM:
        scale = tl.rsqrt(tl.sum(squares, 0) / WIDTH + epsilon)
        one *= scale
        two *= scale
    return one, two


@triton.jit  # type: ignore[untyped-decorator]
def _project(  # type: ignore[no-untyped-def]
    hidden,
    norm,
    query,
    key,
    value,
    query_bias,
    key_bias,
    value_bias,
    cos,
    sin,
    out,
    epsilon,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    BIAS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Rows c and c + HALF of one head, for TILE channels c; RoPE is applied to query and key heads."""
    blocks: tl.constexpr = (HALF + TILE - 1) // TILE
    head = tl.program_id(0) // blocks
    channels = (tl.program_id(0) % blocks) * TILE + tl.arange(0, TILE)
    real = channels < HALF
    if head < QUERIES:
        weight = query
        bias = query_bias
        first = head
    elif head < QUERIES + KEYS:
        weight = key
        bias = key_bias
        first = head - QUERIES
    else:
        weight = value
        bias = value_bias
        first = head - QUERIES - KEYS
    rows = first * 2 * HALF + tl.minimum(channels, HALF - 1)
    low = weight + rows.to(tl.int64) * WIDTH
    one, two = _two_sums(
        hidden, norm, low, low + HALF * WIDTH, epsilon, WIDTH, TILE, BLOCK, STAGES, NORM=True
    )
    if BIAS:
        one += tl.load(bias + rows).to(tl.float32)
        two += tl.load(bias + rows + HALF).to(tl.float32)
    kind = out.dtype.element_ty
    one = one.to(kind).to(tl.float32)
    two = two.to(kind).to(tl.float32)
    if head < QUERIES + KEYS:
        cos_one = tl.load(cos + channels, mask=real, other=0.0).to(tl.float32)
        cos_two = tl.load(cos + HALF + channels, mask=real, other=0.0).to(tl.float32)
        sin_one = tl.load(sin + channels, mask=real, other=0.0).to(tl.float32)
        sin_two = tl.load(sin + HALF + channels, mask=real, other=0.0).to(tl.float32)
        rotated = (one * cos_one).to(kind).to(tl.float32) - (two * sin_one).to(kind).to(tl.float32)
        two = (two * cos_two).to(kind).to(tl.float32) + (one * sin_two).to(kind).to(tl.float32)
        one = rotated
    at = out + head * 2 * HALF + channels
    tl.store(at, one.to(kind), mask=real)
    tl.store(at + HALF, two.to(kind), mask=real)


@triton.jit  # type: ignore[untyped-decorator]
def _gate(  # type: ignore[no-untyped-def]
    hidden,
    norm,
    gate,
    up,
    out,
    epsilon,
    count,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """silu(gate) * up for TILE rows of both."""
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    begin = tl.minimum(rows, count - 1).to(tl.int64) * WIDTH
    g, u = _two_sums(hidden, norm, gate + begin, up + begin, epsilon, WIDTH, TILE, BLOCK, STAGES, NORM=True)
    kind = out.dtype.element_ty
    tl.store(out + rows, silu_times(g.to(kind), u.to(kind)), mask=rows < count)


@triton.jit  # type: ignore[untyped-decorator]
def _add(  # type: ignore[no-untyped-def]
    vector,
    weight,
    residual,
    out,
    count,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """residual + product for two tiles of rows."""
    kind = out.dtype.element_ty
    rows = tl.program_id(0) * 2 * TILE + tl.arange(0, TILE)
    low = weight + tl.minimum(rows, count - 1).to(tl.int64) * WIDTH
    high = weight + tl.minimum(rows + TILE, count - 1).to(tl.int64) * WIDTH
    one, two = _two_sums(vector, vector, low, high, 0.0, WIDTH, TILE, BLOCK, STAGES, NORM=False)
    before = tl.load(residual + rows, mask=rows < count, other=0.0).to(tl.float32)
    tl.store(out + rows, (before + one.to(kind).to(tl.float32)).to(kind), mask=rows < count)
    rows += TILE
    before = tl.load(residual + rows, mask=rows < count, other=0.0).to(tl.float32)
    tl.store(out + rows, (before + two.to(kind).to(tl.float32)).to(kind), mask=rows < count)


def project(
    hidden: torch.Tensor,
    norm: torch.Tensor,
    epsilon: float,
    linears: tuple[Linear, Linear, Linear],
    rotary: tuple[torch.Tensor, torch.Tensor],
    tiling: Tiling | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries and keys after RoPE, and values, of one token, [1, heads, 1, D] each.

    All tensors are contiguous and of one dtype.

    Args:
        hidden: [C], the hidden state before the norm.
        norm: [C], the norm's weight.
        epsilon: the norm's.
        linears: weight and bias of queries, keys and values; all with a bias or none.
        rotary: cos and sin [D] of the token's position.
        tiling: default: TILING.
    """
    tiling = tiling or TILING
    cos, sin = rotary
    (query, query_bias), (key, key_bias), (value, value_bias) = linears
    width, half = hidden.numel(), cos.numel() // 2
    queries, keys = len(query) // (2 * half), len(key) // (2 * half)
    out = hidden.new_empty((queries + 2 * keys, 2 * half))
    _project[((queries + 2 * keys) * triton.cdiv(half, tiling.rows),)](
        hidden,
        norm,
        query,
        key,
        value,
        query if query_bias is None else query_bias,
        key if key_bias is None else key_bias,
        value if value_bias is None else value_bias,
        cos,
        sin,
        out,
        epsilon,
        QUERIES=queries,
        KEYS=keys,
        HALF=half,
        BIAS=query_bias is not None,
        **_launch_options(width, tiling),
    )
    out = out[None, :, None]
    return out[:, :queries], out[:, queries : queries + keys], out[:, queries + keys :]


def gate(
    hidden: torch.Tensor,
    norm: torch.Tensor,
    epsilon: float,
    gate_weight: torch.Tensor,
    up_weight: torch.Tensor,
    tiling: Tiling | None = None,
) -> torch.Tensor:
    """silu(gate) * up, [N], of the normed hidden state [C]; weights [N, C]."""
    tiling = tiling or TILING
    count, width = gate_weight.shape
    out = hidden.new_empty(count)
    _gate[(triton.cdiv(count, tiling.rows),)](
        hidden,
        norm,
        gate_weight,
        up_weight,
        out,
        epsilon,
        count,
        **_launch_options(width, tiling),
    )
    return out


def add(
    vector: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor, tiling: Tiling | None = None
) -> torch.Tensor:
    """residual [N] + weight [N, C] @ vector [C]."""
    tiling = tiling or TILING
    count, width = weight.shape
    out = torch.empty_like(residual)
    _add[(triton.cdiv(count, 2 * tiling.rows),)](
        vector,
        weight,
        residual,
        out,
        count,
        **_launch_options(width, tiling),
    )
    return out


def _launch_options(width: int, tiling: Tiling) -> dict[str, int]:
    """The launch options of a tiling for vectors of `width` channels."""
    block = min(tiling.channels, int(triton.next_power_of_2(width)))
    sizes = {"WIDTH": width, "TILE": tiling.rows, "BLOCK": block, "STAGES": tiling.stages}
    return sizes | {"num_warps": tiling.warps}
