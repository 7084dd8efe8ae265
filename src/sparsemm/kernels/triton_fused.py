"""The operations between a decode step's matrix products, one launch each: RMS norm, RoPE, gated SiLU.

Importing this module needs triton. A step of one token consists of tiny operations; as separate launches they take
about as long as reading the weights. Each kernel rounds where the plain operations round, so that the results agree.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _rms_norm(hidden, weight, out, epsilon, WIDTH: tl.constexpr, PADDED: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    channels = tl.arange(0, PADDED)
    real = channels < WIDTH
    x = tl.load(hidden + row * WIDTH + channels, mask=real, other=0.0).to(tl.float32)
    x = x * tl.rsqrt(tl.sum(x * x, 0) / WIDTH + epsilon)
    x = x.to(out.dtype.element_ty).to(tl.float32)
    w = tl.load(weight + channels, mask=real, other=0.0).to(tl.float32)
    tl.store(out + row * WIDTH + channels, (x * w).to(out.dtype.element_ty), mask=real)


@triton.jit
def silu_times(gate, up):  # type: ignore[no-untyped-def]
    """silu(gate) * up; every operation rounds to their dtype."""
    g = gate.to(tl.float32)
    g = (g / (1.0 + tl.exp(-g))).to(gate.dtype).to(tl.float32)
    return (g * up.to(tl.float32)).to(gate.dtype)


@triton.jit  # type: ignore[untyped-decorator]
def _gated_silu(gate, up, out, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gate + at, mask=inside, other=0.0)
    u = tl.load(up + at, mask=inside, other=0.0)
    tl.store(out + at, silu_times(g, u), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _rotate(  # type: ignore[no-untyped-def]
    query,
    key,
    cos,
    sin,
    query_out,
    key_out,
    query_row,
    query_head,
    key_row,
    key_head,
    cos_row,
    sin_row,
    QUERY_HEADS: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    PADDED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    channels = tl.arange(0, PADDED)
    real = channels < HALF
    if head < QUERY_HEADS:
        source = query + row * query_row + head * query_head
        target = query_out + (row * QUERY_HEADS + head) * 2 * HALF
    else:
        source = key + row * key_row + (head - QUERY_HEADS) * key_head
        target = key_out + (row * KEY_HEADS + head - QUERY_HEADS) * 2 * HALF
    kind = query_out.dtype.element_ty
    for part in tl.static_range(2):
        here = part * HALF + channels
        there = (1 - part) * HALF + channels
        x = tl.load(source + here, mask=real, other=0.0).to(tl.float32)
        y = tl.load(source + there, mask=real, other=0.0).to(tl.float32)
        c = tl.load(cos + row * cos_row + here, mask=real, other=0.0).to(tl.float32)
        s = tl.load(sin + row * sin_row + here, mask=real, other=0.0).to(tl.float32)
        rotated = y * s if part else -y * s
        total = (x * c).to(kind).to(tl.float32) + rotated.to(kind).to(tl.float32)
        tl.store(target + here, total.to(kind), mask=real)


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMS norm of hidden [..., C] with weight [C] of the same dtype."""
    hidden = hidden.contiguous()
    width = hidden.shape[-1]
    out = torch.empty_like(hidden)
    padded = triton.next_power_of_2(width)
    _rms_norm[(hidden.numel() // width,)](
        hidden, weight, out, epsilon, WIDTH=width, PADDED=padded, num_warps=min(16, max(1, padded // 512))
    )
    return out


def gated_silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, both contiguous and of one shape."""
    out = torch.empty_like(gate)
    count = gate.numel()
    _gated_silu[(triton.cdiv(count, _BLOCK),)](gate, up, out, count, BLOCK=_BLOCK, num_warps=4)
    return out


def rotate(
    query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """RoPE of one token a row: query [B, Hq, 1, D], key [B, Hkv, 1, D], cos and sin [1 or B, 1, D]."""
    rows, query_heads, _, width = query.shape
    heads = key.shape[1]
    query_out = query.new_empty((rows, query_heads, 1, width))
    key_out = key.new_empty((rows, heads, 1, width))
    cos, sin = cos.expand(rows, 1, width), sin.expand(rows, 1, width)
    _rotate[(rows, query_heads + heads)](
        query,
        key,
        cos,
        sin,
        query_out,
        key_out,
        *query.stride()[:2],
        *key.stride()[:2],
        cos.stride(0),
        sin.stride(0),
        QUERY_HEADS=query_heads,
        KEY_HEADS=heads,
        HALF=width // 2,
        PADDED=triton.next_power_of_2(width // 2),
        num_warps=1,
    )
    return query_out, key_out
