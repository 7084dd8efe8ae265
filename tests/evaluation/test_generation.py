"""The engine answers what `generate` answers under the settings of the checkpoint's generation_config."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.generation.compress import compress
from sparsemm.models.loading import build_inputs
from sparsemm.policies import FullKV, LocalWindow, Policy, SnapKV

from helpers import tiny
from helpers.tiny_families import tiny_family

NEW = 16
POLICIES: list[Policy] = [FullKV(window=4), SnapKV(12, window=4), LocalWindow(6), SnapKV(400, window=4)]
SIZES = [(60, 40), (24, 64), (64, 64)]
PROMPTS = ["aaa", "Read all the lines of this page.", "What is 12 + 12?"]


@contextmanager
def configured(name: str, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A tiny model, with settings in its generation_config, and its processor."""
    model, processor = tiny_family(name)
    before = model.generation_config
    model.generation_config = copy.deepcopy(before)
    for key, value in settings.items():
        setattr(model.generation_config, key, value)
    try:
        yield model, processor
    finally:
        model.generation_config = before


def inputs_of(processor: Any, indices: list[int]) -> dict[str, torch.Tensor]:
    images = [tiny.image(*SIZES[index], seed=index) for index in indices]
    return build_inputs(processor, images, [PROMPTS[index] for index in indices])


def together(model: Any, processor: Any, **options: Any) -> EngineOutput:
    inputs = inputs_of(processor, [0, 1, 2])
    return run_cells(model, inputs, POLICIES, max_new_tokens=NEW, **({"stop": ()} | options))


def alone(model: Any, processor: Any, policy: Policy, index: int) -> list[int]:
    inputs = inputs_of(processor, [index])
    with compress(model, policy):
        out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["qwen2_vl", "llava_next-mistral"])
@pytest.mark.parametrize("settings", [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 1}])
def test_each_sample_of_a_batch_answers_as_generate_alone(name: str, settings: dict[str, Any]) -> None:
    with configured(name) as (model, processor):
        free = together(model, processor).tokens
    with configured(name, **settings) as (model, processor):
        found = together(model, processor)
        for cell, policy in enumerate(POLICIES):
            for index in range(len(SIZES)):
                assert found.tokens[cell][index] == alone(model, processor, policy, index), (policy, index)
        inputs = inputs_of(processor, [0])
        plain = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
        assert plain[0, inputs["input_ids"].shape[1] :].tolist() == found.tokens[0][0]
        assert together(model, processor, generation="plain").tokens == free
    changed = [a != b for cell in zip(free, found.tokens, strict=True) for a, b in zip(*cell, strict=True)]
    assert sum(changed) >= len(changed) // 2


def test_the_first_token_and_ended_rows_follow_the_settings_too() -> None:
    with configured("qwen2_vl") as (model, processor):
        free = together(model, processor).tokens
    firsts = sorted({answer[0] for cell in free for answer in cell})
    stop = sorted({token for cell in free for answer in cell for token in answer[2:6]} - set(firsts))
    with configured("qwen2_vl", eos_token_id=stop, begin_suppress_tokens=firsts, min_new_tokens=3) as pair:
        found = together(*pair, stop=stop).tokens
        for cell, policy in enumerate(POLICIES):
            for index in range(len(SIZES)):
                answer = alone(*pair, policy, index)
                end = next((place for place, token in enumerate(answer) if token in stop), len(answer))
                assert found[cell][index] == answer[:end]
                assert answer[0] not in firsts
    lengths = {len(answer) for cell in found for answer in cell}
    assert min(lengths) >= 3
    assert len(lengths) > 1  # rows end at different steps


def test_nothing_is_computed_where_no_setting_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    import sparsemm.models.generation_settings as module

    monkeypatch.setattr(module.PromptProcessors, "__init__", None)
    with configured("qwen2_vl", temperature=0.1, top_k=1, repetition_penalty=1.0) as (model, processor):
        together(model, processor)
