"""The estimate of a job's memory against the engine's tensors, measured, and the constants the two share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from preflight_memory import MODEL, ROOT, compare

from sparsemm.evaluation.engine import cache, run
from sparsemm.models.loading import Loaded, load_model
from sparsemm.preflight import memory
from sparsemm.preflight.memory import Work, job_memory
from sparsemm.preflight.sizes import read_sizes


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_model(MODEL)


def small(policies: list[str]) -> dict[str, Any]:
    """The default configuration without the answers' length, which takes the time."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config["policies"] = policies
    config["ablations"] = {part: {"benchmark": "none"} for part in ("rho", "parts")}
    config["benchmarks"] = {"synth-docvqa": {"max_new_tokens": 6}}
    return config


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("policies", [[], ["snapkv", "adakv", "sparsemm", "random_heads"]])
def test_the_estimate_is_near_what_the_engine_holds(loaded: Loaded, batch: int, policies: list[str]) -> None:
    """Within -10 % and +35 %.

    Above: rows with equal kept sets share one, and answers may end early. Below: how unevenly a policy spreads its
    budget is assumed, and small temporary tensors are not counted.
    """
    measured, estimated = compare(loaded, MODEL, "synth-docvqa", batch, small(policies))
    assert 0.9 * measured <= estimated.peak <= 1.35 * measured


def test_the_constants_are_the_engines() -> None:
    assert memory.CALL_WORK == run._CALL_WORK
    assert memory.COPY_BELOW == cache._COPY_BELOW
    assert memory.BLOCK == cache._BLOCK


def test_a_7b_model_in_bfloat16() -> None:
    sizes = replace(
        read_sizes(MODEL / "config.json"),
        layers=32,
        hidden=4096,
        intermediate=11008,
        heads=32,
        kv_heads=32,
        head_dim=128,
    )
    cells = [("fullkv", 0), *(("snapkv", budget) for budget in (64, 4096))]
    work = Work(cells, 2048, 1900, 32, 16, 1, 2, "cuda")
    held = job_memory(sizes, 7_000_000_000, work)
    assert held.weights == 14_000_000_000
    assert held.prompts == 2048 * 2 * 32 * 32 * 128 * 2
    assert held.layer == held.prompts // 32
    assert held.new_tokens == 2 * 16 * 2 * 32 * 32 * 128 * 2, "a budget above the prompt shares the full row"
    twice = job_memory(sizes, 7_000_000_000, replace(work, batch=2))
    assert twice.prompts == 2 * held.prompts
    assert held.peak < twice.peak < 2 * held.peak
