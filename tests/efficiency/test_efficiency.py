"""Profiles: the prompt, the decode loop against `generate`, rewinding, and what is measured."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.efficiency import MeasureSettings, build_prompt, floor, measure, profile_cell
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.models.loading import Loaded
from sparsemm.policies import AdaKV, FullKV, Policy, SnapKV, SparseMM
from sparsemm.results.parquet import read_table, write_table
from sparsemm.runtime.peak_memory import PeakMemory

from helpers import tiny, tiny_families
from helpers.interpreter import needs_triton


def loaded(variant: str = "mha") -> Loaded:
    return Loaded(tiny.model(variant), tiny.processor(), "llava_next", "tiny", "0")


@pytest.mark.parametrize("tokens", [300, 301, 777])
def test_the_prompt_has_the_length_and_is_mostly_images(tokens: int) -> None:
    ids = build_prompt(loaded(), tokens)["input_ids"]
    assert ids.shape == (1, tokens)
    image = ids == tiny.SPECIAL.index("<image>")
    assert int(image.sum()) > tokens / 3  # tiny images take few tokens, the instruction's characters many
    tiny.model().generate(**build_prompt(loaded(), tokens), max_new_tokens=1)  # the model takes it


def test_a_prompt_too_short_for_an_image_is_refused() -> None:
    with pytest.raises(InputError, match=r"efficiency\.tokens"):
        build_prompt(loaded(), 20)
    for wrong in ({"repeats": 0}, {"new_tokens": 0}, {"warmup": -1}, {"batch": 0}, {"batch": "all"}):
        with pytest.raises(InputError, match=r"efficiency\."):
            MeasureSettings(**wrong)


@pytest.mark.parametrize("variant", tiny.VARIANTS)
@pytest.mark.parametrize("policy", [FullKV(), SnapKV(40, window=8), AdaKV(40, window=8)])
def test_the_loop_is_generate_and_can_be_repeated(variant: str, policy: Policy) -> None:
    model = tiny.model(variant)
    inputs = build_prompt(loaded(variant), 320)
    with compress(model, policy):
        expected = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, 320:]
    with ragged_attention_in(model), torch.no_grad():
        cache, first, place = prefill(model, inputs, policy, reserve=11)
        loop, runs = GreedyLoop(model, cache, first, place), []
        for _ in range(2):
            runs.append(torch.cat([first, loop.run(11)], 1)[0].tolist())
            loop.rewind()
    assert runs == [expected.tolist()] * 2


def test_a_profile_is_an_efficiency_file(tmp_path: Path) -> None:
    scores = np.full((tiny.LAYERS, tiny.HEADS), 1 / (tiny.LAYERS * tiny.HEADS))
    policy = SparseMM(scores, 40, window=8)
    settings = MeasureSettings(new_tokens=4, repeats=2, warmup=1)
    cell = profile_cell(loaded(), policy, 320, settings, label="sparsemm")
    frame = cell.repeats
    write_table(tmp_path / "efficiency.parquet", frame, "efficiency", {})
    write_table(tmp_path / "profile.parquet", cell.summary, "profile", {})
    token_bytes = 2 * tiny.HEAD_DIM * 4
    assert list(frame.repeat) == [0, 1]
    assert set(frame.cache_bytes) == {40 * tiny.LAYERS * tiny.HEADS * token_bytes}
    assert (frame.prefill_s > 0).all()
    assert (frame.decode_ms_per_token > 0).all()
    assert (frame.peak_bytes > 50_000_000).all()  # a process with torch in it
    settings = MeasureSettings(new_tokens=2, repeats=1, warmup=0)
    full = profile_cell(loaded(), FullKV(), 320, settings).repeats
    assert set(full.cache_bytes) == {320 * tiny.LAYERS * tiny.HEADS * token_bytes}
    assert set(full.budget) == {0}


def test_the_summary_says_what_was_moved_and_how_fast() -> None:
    cell = profile_cell(loaded("gqa"), SnapKV(40, window=8), 320, MeasureSettings(new_tokens=4))
    row = cell.summary.iloc[0]
    model = tiny.model("gqa")
    text, head = model.get_decoder(), model.get_output_embeddings()
    weights = sum(4 * p.numel() for part in (*text.layers, text.norm, head) for p in part.parameters())
    token_bytes = tiny.LAYERS * model.config.text_config.num_key_value_heads * 2 * tiny.HEAD_DIM * 4
    assert row.weight_bytes == weights
    assert row.moved_bytes == weights + (40 + 2) * token_bytes  # four tokens are added: two in the mean
    assert row.kept_tokens == 40
    assert row.decode_ms_per_token == cell.repeats.decode_ms_per_token.median()
    assert row.decode_ms_least <= row.decode_ms_per_token <= row.decode_ms_most
    assert row.achieved_gb_s == pytest.approx(row.moved_bytes / row.decode_ms_per_token / 1e6)
    assert row.times_floor == pytest.approx(row.copy_gb_s / row.achieved_gb_s)
    assert 0 < row.selection_s < row.prefill_s < row.first_token_s
    assert (row.status, row.batch, row.rows, row.weights) == ("ok", "1", 1, "checkpoint")


@pytest.mark.parametrize("variant", tiny.VARIANTS)
def test_rows_of_a_batch_are_the_same_prompt(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = SnapKV(40, window=8)
    settings = MeasureSettings(new_tokens=3, repeats=1)
    one = profile_cell(loaded(variant), policy, 320, settings).summary.iloc[0]
    monkeypatch.setattr(floor, "MOST_ROWS", 5)
    for batch, rows in ((3, 3), ("largest", 5)):
        settings = MeasureSettings(batch=batch, new_tokens=3, repeats=2)
        cell = profile_cell(loaded(variant), policy, 320, settings)
        row = cell.summary.iloc[0]
        assert (row.batch, row.rows) == (str(batch), rows)
        assert row.cache_bytes == rows * one.cache_bytes
        assert row.tokens_per_s == pytest.approx(1000 * rows / row.decode_ms_per_token)
    tokens: list[list[int]] = []
    measure(
        tiny.model(variant),
        build_prompt(loaded(variant), 320),
        policy,
        MeasureSettings(batch=3, new_tokens=3),
        inspect=lambda start, loop: tokens.extend(loop.run(3).tolist()) or {},
    )
    assert tokens == [tokens[0]] * 3


def test_no_repeat_pays_for_garbage_of_imports() -> None:
    """A pass over all objects takes longer than many steps, and fell into one repeat of three."""
    inputs = build_prompt(loaded(), 300)
    before, seen = gc.get_freeze_count(), []
    measure(
        tiny.model(),
        inputs,
        FullKV(),
        MeasureSettings(new_tokens=2),
        inspect=lambda start, loop: seen.append((gc.get_freeze_count(), len(gc.get_objects()))) or {},
    )
    ((frozen, looked_at),) = seen
    assert gc.get_freeze_count() == before
    assert looked_at < frozen / 10


def test_the_largest_batch_fills_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with ragged_attention_in(tiny.model()), torch.no_grad():
        cache, _, _ = prefill(tiny.model(), build_prompt(loaded(), 320), SnapKV(40, window=8), reserve=5)
    for share, rows in ((0.1, 1), (2, 1), (10, 8), (1e6, floor.MOST_ROWS)):
        monkeypatch.setattr(
            floor, "free_bytes", lambda device, share=share: int(share * cache.reserved_bytes)
        )
        assert floor.largest_batch(cache, torch.device("cpu")) == rows


def test_memory_that_runs_out_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("sparsemm.efficiency.measurement.prefill", full)
    cell = profile_cell(loaded(), FullKV(), 320, MeasureSettings(batch=8))
    write_table(tmp_path / "efficiency.parquet", cell.repeats, "efficiency", {})
    write_table(tmp_path / "profile.parquet", cell.summary, "profile", {})
    row = read_table(tmp_path / "profile.parquet", "profile").iloc[0]
    assert len(cell.repeats) == 0
    assert (row.status, row.batch, row.policy) == ("out of memory", "8", "fullkv")
    assert row[["rows", "decode_ms_per_token", "peak_bytes"]].isna().all()


def test_a_qwen_prompt_is_long_enough_in_every_input() -> None:
    model, processor = tiny_families.tiny_family("qwen2_vl")
    qwen = Loaded(model, processor, "qwen2_vl", "tiny", "0")
    cell = profile_cell(qwen, SnapKV(40, window=8), 700, MeasureSettings(new_tokens=2, repeats=1))
    assert cell.summary.status[0] == "ok"


@pytest.mark.parametrize("sampled", [False, True])
def test_the_peak_is_seen_after_it_is_gone(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr("sparsemm.runtime.peak_memory._reset_high_water", lambda: False)
    with PeakMemory(torch.device("cpu")) as idle:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        block = torch.zeros(100_000_000, dtype=torch.uint8)
        for _ in range(20):  # long enough for a sampler to pass by
            block += 1
        del block
    assert peak.bytes - idle.bytes > 80_000_000


def test_the_loop_over_the_triton_store_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_triton(without_gpu=True)
    model, runs = tiny.model("gqa"), []
    for kind in ("torch", "triton"):
        monkeypatch.setattr("sparsemm.cache.stores.registry._automatic", lambda like, kind=kind: kind)
        with ragged_attention_in(model), torch.no_grad():
            cache, first, place = prefill(
                model, build_prompt(loaded("gqa"), 300), SnapKV(40, window=8), reserve=5
            )
            loop = GreedyLoop(model, cache, first, place)
            for _ in range(2):
                runs.append(loop.run(5).tolist())
                loop.rewind()
    assert runs == [runs[0]] * 4
