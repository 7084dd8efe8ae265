"""Mean attention of the window: the Triton kernel against torch."""

from __future__ import annotations

import pytest
import torch

from helpers.interpreter import needs_triton

needs_triton()

from sparsemm import pooled_attention  # noqa: E402
from sparsemm.kernels import triton_window  # noqa: E402
from sparsemm.policies import selection  # noqa: E402
from sparsemm.policies.rankers import (  # noqa: E402
    ImageAware,
    LastQuery,
    ValueAttention,
    WindowAttention,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("batch", "heads", "kv_heads", "total", "window", "width"),
    [(1, 2, 2, 300, 32, 64), (2, 3, 1, 131, 8, 12), (1, 4, 2, 129, 128, 16), (1, 1, 1, 2, 1, 8)],
)
def test_it_is_the_torch_one(batch, heads, kv_heads, total, window, width, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(total)
    query, key = (
        (3 * torch.randn(batch, total, each, width, generator=generator)).to(DEVICE, dtype).transpose(1, 2)
        for each in (heads, kv_heads)
    )  # heads between the tokens, as a model's projections lie
    monkeypatch.setattr(selection, "runs_triton", lambda tensor: False)
    expected = pooled_attention(query, key, window=window, scaling=0.2)
    monkeypatch.setattr(selection, "runs_triton", lambda tensor: True)
    calls, plain = [], triton_window.window_attention
    monkeypatch.setattr(triton_window, "window_attention", lambda *a: (calls.append(1), plain(*a))[1])
    ours = pooled_attention(query, key, window=window, scaling=0.2)
    assert calls
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=2e-4)


def test_pads_and_other_layouts_go_to_torch(monkeypatch):
    monkeypatch.setattr(selection, "runs_triton", lambda tensor: True)
    monkeypatch.setattr(triton_window, "window_attention", None)
    query, key = torch.randn(2, 1, 2, 20, 4)
    pooled_attention(query, key, window=4, valid=torch.ones(1, 20, dtype=torch.bool))
    pooled_attention(query, key.mT.contiguous().mT, window=4)
    pooled_attention(query, key.double(), window=4)


@pytest.mark.parametrize("ranker", [WindowAttention(8), LastQuery(8), ValueAttention(8), ImageAware(8)])
def test_rankers_by_attention_use_it(ranker, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 90, 16, generator=generator).to(DEVICE) for heads in (4, 2, 2))
    image = torch.arange(90, device=DEVICE)[None] < 50
    given = {"scaling": 0.3, "image": image if ranker.needs_image else None}
    monkeypatch.setattr(selection, "runs_triton", lambda tensor: False)
    expected = ranker.rank(query, key, value, **given)
    monkeypatch.setattr(selection, "runs_triton", lambda tensor: True)
    calls, plain = [], triton_window.window_attention
    monkeypatch.setattr(triton_window, "window_attention", lambda *a: (calls.append(1), plain(*a))[1])
    torch.testing.assert_close(ranker.rank(query, key, value, **given), expected, atol=1e-6, rtol=2e-4)
    assert len(calls) == 1
