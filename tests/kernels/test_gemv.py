"""Matrix-vector products with their norm, rotary positions, gate and residual against the plain modules."""

from __future__ import annotations

import pytest
import torch

from helpers.interpreter import needs_triton

needs_triton()

from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb  # noqa: E402

from sparsemm.kernels.triton_gemv import Tiling, add, gate, project  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Float16 results are two roundings of sums away from each other.
CLOSE = {torch.float32: {"atol": 2e-5, "rtol": 1e-5}, torch.float16: {"atol": 4e-3, "rtol": 4e-3}}
DTYPES = pytest.mark.parametrize("dtype", list(CLOSE))
TILINGS = [Tiling(), Tiling(rows=2, channels=32, stages=2, warps=2)]


def some(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape).to(DEVICE, dtype)


def norm_of(width: int, dtype: torch.dtype) -> LlamaRMSNorm:
    norm = LlamaRMSNorm(width).to(DEVICE, dtype)
    norm.weight.data.uniform_(0.5, 1.5)
    return norm


@DTYPES
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(
    ("width", "heads", "kv_heads", "head_dim", "bias"),
    [(64, 2, 2, 16, False), (72, 4, 1, 12, True), (600, 3, 1, 10, True)],
)
@torch.no_grad()
def test_projections(width, heads, kv_heads, head_dim, bias, tiling, dtype):
    torch.manual_seed(0)
    norm, hidden = norm_of(width, dtype), some(width, dtype=dtype)
    sizes = [count * head_dim for count in (heads, kv_heads, kv_heads)]
    linears = [torch.nn.Linear(width, size, bias).to(DEVICE, dtype) for size in sizes]
    angles = torch.rand(head_dim // 2).repeat(2)
    cos, sin = angles.cos().to(DEVICE, dtype), angles.sin().to(DEVICE, dtype)
    normed = norm(hidden)
    query, key, value = (each(normed).view(1, -1, 1, head_dim) for each in linears)
    query, key = apply_rotary_pos_emb(query, key, cos[None, None], sin[None, None])
    pairs = tuple((each.weight, each.bias) for each in linears)
    found = project(hidden, norm.weight, norm.variance_epsilon, pairs, (cos, sin), tiling)
    for ours, expected in zip(found, (query, key, value), strict=True):
        torch.testing.assert_close(ours, expected, **CLOSE[dtype])


@DTYPES
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(("width", "count"), [(64, 32), (600, 7), (40, 1)])
@torch.no_grad()
def test_gate_and_sum(width, count, tiling, dtype):
    torch.manual_seed(1)
    norm, hidden = norm_of(width, dtype), some(width, dtype=dtype)
    one, two = some(count, width, dtype=dtype) / 8, some(count, width, dtype=dtype) / 8
    normed = norm(hidden)
    expected = torch.nn.functional.silu(one @ normed) * (two @ normed)
    found = gate(hidden, norm.weight, norm.variance_epsilon, one, two, tiling)
    torch.testing.assert_close(found, expected, **CLOSE[dtype])
    residual = some(count, dtype=dtype)
    torch.testing.assert_close(add(hidden, one, residual, tiling), residual + one @ hidden, **CLOSE[dtype])
