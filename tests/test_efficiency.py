"""Profiles: the prompt, the decode loop against `generate`, rewinding, and what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sparsemm.attention import switched
from sparsemm.compress import compress
from sparsemm.efficiency import build_prompt, prefill, profile_cell
from sparsemm.errors import InputError
from sparsemm.greedy import GreedyLoop
from sparsemm.models import Loaded
from sparsemm.peak_memory import PeakMemory
from sparsemm.policies import AdaKV, FullKV, Policy, SnapKV, SparseMM
from sparsemm.results import write_table

import tiny


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
    for wrong in ({"repeats": 0}, {"new_tokens": 0}, {"warmup": -1}):
        with pytest.raises(InputError, match=r"efficiency\."):
            profile_cell(loaded(), FullKV(), 300, **wrong)


@pytest.mark.parametrize("variant", tiny.VARIANTS)
@pytest.mark.parametrize("policy", [FullKV(), SnapKV(40, window=8), AdaKV(40, window=8)])
def test_the_loop_is_generate_and_can_be_repeated(variant: str, policy: Policy) -> None:
    model = tiny.model(variant)
    inputs = build_prompt(loaded(variant), 320)
    with compress(model, policy):
        expected = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, 320:]
    with switched(model), torch.no_grad():
        cache, first, place = prefill(model, inputs, policy, reserve=11)
        loop, runs = GreedyLoop(model, cache, first, place), []
        for _ in range(2):
            runs.append(torch.cat([first, loop.run(11)], 1)[0].tolist())
            loop.rewind()
    assert runs == [expected.tolist()] * 2


def test_a_profile_is_an_efficiency_file(tmp_path: Path) -> None:
    scores = np.full((tiny.LAYERS, tiny.HEADS), 1 / (tiny.LAYERS * tiny.HEADS))
    policy = SparseMM(scores, 40, window=8)
    frame = profile_cell(loaded(), policy, 320, label="sparsemm", new_tokens=4, repeats=2, warmup=1)
    write_table(tmp_path / "efficiency.parquet", frame, "efficiency", {})
    token_bytes = 2 * tiny.HEAD_DIM * 4
    assert list(frame.repeat) == [0, 1]
    assert set(frame.cache_bytes) == {40 * tiny.LAYERS * tiny.HEADS * token_bytes}
    assert (frame.prefill_s > 0).all()
    assert (frame.decode_ms_per_token > 0).all()
    assert (frame.peak_bytes > 50_000_000).all()  # a process with torch in it
    full = profile_cell(loaded(), FullKV(), 320, new_tokens=2, repeats=1, warmup=0)
    assert set(full.cache_bytes) == {320 * tiny.LAYERS * tiny.HEADS * token_bytes}
    assert set(full.budget) == {0}


@pytest.mark.parametrize("sampled", [False, True])
def test_the_peak_is_seen_after_it_is_gone(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr("sparsemm.peak_memory._reset_high_water", lambda: False)
    with PeakMemory(torch.device("cpu")) as idle:
        pass
    with PeakMemory(torch.device("cpu")) as peak:
        block = torch.zeros(100_000_000, dtype=torch.uint8)
        for _ in range(20):  # long enough for a sampler to pass by
            block += 1
        del block
    assert peak.bytes - idle.bytes > 80_000_000


def test_the_loop_over_the_triton_store_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton", reason="triton is not installed: pip install 'sparsemm[dev]'")
    if not triton.knobs.runtime.interpret:
        pytest.skip("triton was imported before TRITON_INTERPRET=1 was set")
    model, runs = tiny.model("gqa"), []
    for kind in ("torch", "triton"):
        monkeypatch.setattr("sparsemm.kernels.store._automatic", lambda like, kind=kind: kind)
        with switched(model), torch.no_grad():
            cache, first, place = prefill(
                model, build_prompt(loaded("gqa"), 300), SnapKV(40, window=8), reserve=5
            )
            loop = GreedyLoop(model, cache, first, place)
            for _ in range(2):
                runs.append(loop.run(5).tolist())
                loop.rewind()
    assert runs == [runs[0]] * 4
