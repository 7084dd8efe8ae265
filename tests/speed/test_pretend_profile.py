"""The efficiency profile and the GPU benchmarks on a pretend CUDA device (tests/pretend): what a GPU would run."""

from __future__ import annotations

from dataclasses import replace

import gpu_cell
import gpu_kernels
import gpu_models
import gpu_products
import pytest
import torch
from gpu_logits import compare_logits

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache
from sparsemm.efficiency import MeasureSettings, measure, profile_cell
from sparsemm.generation.chunking import chunked
from sparsemm.generation.selector import token_selector
from sparsemm.models.loading import Loaded
from sparsemm.policies import SnapKV
from sparsemm.runtime.clock import timed

from helpers import tiny
from pretend.models import here, moved, policy, prompt

pytestmark = pytest.mark.long

SETTINGS = gpu_cell.Settings(
    "cuda", "pretend", "bfloat16", tiny=True, budget=24, steps=2, repeats=1, triton=True
)


@pytest.mark.parametrize(
    ("name", "method", "batch"),
    [("llava-next-vicuna-7b", "fullkv", 1), ("qwen2-vl-7b", "sparsemm", 0)],
)
def test_a_cell_of_the_gpu_profile(name, method, batch, cuda, monkeypatch):
    monkeypatch.setattr("sparsemm.efficiency.floor.MOST_ROWS", 2)
    monkeypatch.setattr(gpu_kernels, "_CALLS", 1)
    row = gpu_cell.measure_cell(gpu_cell.Cell(name, method, 145, batch), SETTINGS)
    assert row["status"] == "ok"
    assert row["rows"] == (batch or 2)
    assert row["graph_equals_eager"]
    assert row["graph_equals_fused_eager"]
    kernels = {each["kernel"]: each["status"] for each in row["kernels"]}
    assert kernels["ours"] == "ok"
    assert (kernels["sdpa"] == "ok") == (method == "fullkv")
    assert 0 < row["weight_bytes"] + row["reserved_cache_bytes"] < row["peak_bytes"]


def test_products_alone(cuda, monkeypatch):
    monkeypatch.setattr(gpu_kernels, "_CALLS", 1)
    monkeypatch.setattr(gpu_products, "_TILINGS", gpu_products._TILINGS[:1])
    model = gpu_models.build_model(gpu_models.MODELS[2], torch.device("cuda"), torch.bfloat16, tiny=True)
    rows = gpu_products.product_rows(model, SETTINGS, timed)
    assert [row["status"] for row in rows] == ["ok"] * 8
    assert all(row["gb_s"] > 0 for row in rows)


@pytest.mark.parametrize("name", gpu_models.MODELS[1:])
def test_logits_in_16_bits_are_near_those_in_32(name, cuda, monkeypatch):
    monkeypatch.setattr("gpu_logits._STEPS", 4)
    assert compare_logits(name, 145, replace(SETTINGS, dtype="bfloat16"))["within_tolerance"]


def test_repeats_hold_one_cache_at_a_time(cuda, no_collector):
    """The peak of three repeats is that of one, without help from the garbage collector."""
    model, inputs = moved("llava_next-mistral"), prompt("llava_next-mistral")
    peaks = {}
    for method in ("fullkv", "snapkv"):
        for repeats in (1, 3):
            how = MeasureSettings(new_tokens=2, repeats=repeats, warmup=0)
            found = measure(model, inputs, policy(method, model), how)
            peaks[method, repeats] = found.peak_bytes
    assert peaks["fullkv", 1] == peaks["fullkv", 3] > peaks["snapkv", 3] == peaks["snapkv", 1]


def test_the_profile_of_the_workflow(cuda):
    family = "llava_next-mistral"
    kept = []
    for model in (here(family), moved(family)):
        loaded = Loaded(model, tiny.processor(), "llava_next", "tiny", "0")
        how = MeasureSettings(new_tokens=2, repeats=1, warmup=1)
        cell = profile_cell(loaded, SnapKV(24, window=8), 220, how)
        kept.append(cell.summary.kept_tokens.tolist())
    assert kept[0] == kept[1]
    assert cell.summary.status.tolist() == ["ok"]
    assert cell.summary.device.tolist() == ["pretend"]
    assert cell.repeats.peak_bytes.min() > 0


@torch.no_grad()
def test_long_prompts_peak_lower_in_chunks(cuda):
    """The peak is the layer's input, its norm, queries, keys, values, attention and little more."""
    model = moved("llava_next-llama")
    text = model.get_decoder()
    hidden = torch.randn(1, 900, model.config.text_config.hidden_size, device="cuda")
    peaks = []
    with ragged_attention_in(model):
        for tokens in (900, 32):
            with chunked(model, tokens):
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                cache = RaggedCache(2, [token_selector(SnapKV(16, window=2), layer, 2) for layer in range(2)])
                text(inputs_embeds=hidden, past_key_values=cache, use_cache=True)
                peaks.append((torch.cuda.max_memory_allocated() - before) / hidden.nbytes)
                del cache
    assert peaks[1] < 7.5 < 9 < peaks[0], peaks
