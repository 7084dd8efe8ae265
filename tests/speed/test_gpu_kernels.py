"""Tables given to kernels of other projects: stand-ins with the same signatures compute attention from them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from gpu_kernels import kernel_rows

from sparsemm.cache.ragged import RaggedCache

from helpers.interpreter import needs_triton

needs_triton(without_gpu=True)

WIDTH, HEADS = 16, 2


def attend(query, keys, values, scale):
    return (query @ keys.T * scale).softmax(-1) @ values


def varlen(q, k, v, cu_q, cu_k, max_q, max_k, scale, used=None):
    assert max_q == 1
    assert {table.dtype for table in (cu_q, cu_k)} == {torch.int32}
    assert cu_q.tolist() == list(range(len(q) + 1))
    ends = cu_k[1:].tolist() if used is None else (cu_k[:-1] + used).tolist()
    assert max(end - begin for begin, end in zip(cu_k.tolist(), ends)) <= max_k
    return torch.stack(
        [attend(q[i], k[b:e, 0], v[b:e, 0], scale) for i, (b, e) in enumerate(zip(cu_k.tolist(), ends))]
    )


def varlen_2_10(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=()
):
    return varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale)


def varlen_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *,
    return_aux=None, scale=None, window_size=(), enable_gqa=False, seqused_k=None, block_table=None, num_splits=None,
):  # fmt: skip
    assert enable_gqa
    return varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, seqused_k)


def flash(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None):
    return varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale)


class Paged:
    """FlashInfer's paged decode: kernels for a few group sizes, or tensor cores for any."""

    def __init__(self, workspace, kv_layout, use_cuda_graph=False, use_tensor_cores=False):
        assert kv_layout == "NHD"
        self.tensor_cores = use_tensor_cores

    def plan(
        self, indptr, indices, last_page_len, num_qo_heads, num_kv_heads, head_dim, page_size, *,
        q_data_type="float16", sm_scale=None,
    ):  # fmt: skip
        assert {t.dtype for t in (indptr, indices, last_page_len)} == {torch.int32}
        assert (num_kv_heads, page_size, head_dim) == (1, 1, WIDTH)
        assert last_page_len.tolist() == [1] * (len(indptr) - 1)
        assert self.tensor_cores or num_qo_heads in (1, 2, 3, 4, 8)
        self.ends, self.indices, self.scale = indptr.tolist(), indices.long(), sm_scale

    def run(self, q, paged):
        keys, values = paged
        assert keys.shape[1:] == (1, 1, WIDTH)
        pages = [self.indices[b:e] for b, e in zip(self.ends, self.ends[1:])]
        return torch.stack(
            [attend(q[i], keys[p, 0, 0], values[p, 0, 0], self.scale) for i, p in enumerate(pages)]
        )


@pytest.mark.parametrize("group", [1, 7])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("version", [varlen_2_10, varlen_2_13])
def test_every_kernel_is_given_what_the_cache_holds(group, equal, version, monkeypatch):
    monkeypatch.setattr("gpu_kernels._CALLS", 2)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", version)
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=flash))
    fake = SimpleNamespace(BatchDecodeWithPagedKVCacheWrapper=Paged)
    monkeypatch.setitem(sys.modules, "flashinfer", fake)
    cache = RaggedCache(2, reserve=3, storage="triton")
    key, value = torch.randn(2, 2, HEADS, 9, WIDTH, generator=torch.Generator().manual_seed(0))
    kept = torch.ones(2, HEADS, 9, dtype=torch.bool)
    kept[0, 1, 2:6] = equal
    for layer in cache.ragged:
        layer.pack(key, value, kept)
        layer.filled().keys[9:12] = float("nan")  # not written by the cache: must not be read
    text = SimpleNamespace(num_attention_heads=HEADS * group)
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))
    names = ("ours", "sdpa", "varlen", "flash_attn", "flashinfer")
    rows = kernel_rows(cache, model, SimpleNamespace(kernels=names), lambda device, work: work() and 1.0)
    seen = {row["kernel"]: row for row in rows}
    if not equal:
        assert seen.pop("sdpa")["status"] == "ValueError: the sequences differ in length"
    for row in seen.values():
        assert row["status"] == "ok", row
        assert row["error"] < 1e-5, row
    assert cache.ragged[0].filled().lengths.tolist() == kept.sum(-1).tolist()
