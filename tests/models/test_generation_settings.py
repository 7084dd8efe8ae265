"""Logits processors of a checkpoint's generation_config: the same ones, on a sample's own tokens."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sparsemm.errors import InputError
from sparsemm.models.generation_settings import (
    BatchProcessor,
    in_force,
    make_processors,
    plain_generation,
)

from helpers import tiny

NEW = 12


@contextmanager
def configured(**settings: Any) -> Iterator[Any]:
    """The tiny model with settings in its generation_config."""
    model = tiny.model("mha")
    before = model.generation_config
    model.generation_config = copy.deepcopy(before)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    try:
        yield model
    finally:
        model.generation_config = before


def answers(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> list[list[int]]:
    out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False, **options)
    return out[:, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]


def one(index: int) -> dict[str, torch.Tensor]:
    text = [f"<s>USER: <image>\nRead line {index}. ASSISTANT:"]
    image = [[tiny.image(*tiny.UNEQUAL[index], seed=index)]]
    return dict(tiny.processor()(images=image, text=text, return_tensors="pt"))


def test_what_is_in_force() -> None:
    assert in_force(tiny.model("mha")) == {}
    sampled = {"temperature": 0.1, "top_k": 1, "top_p": 0.1, "do_sample": True}
    with configured(repetition_penalty=1.05, **sampled) as model:
        assert in_force(model) == {"repetition_penalty": 1.05}
        assert in_force(model, "plain") == {}
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "guidance_scale": 1}
    with configured(**neutral) as model:
        assert in_force(model) == {}
    with configured(min_new_tokens=3) as model:
        assert in_force(model) == {}  # nothing ends this model's answers
        model.generation_config.eos_token_id = 2
        assert in_force(model) == {"min_new_tokens": 3}
    with configured(suppress_tokens=[9], bad_words_ids=[[8], [7, 6]], forced_eos_token_id=5) as model:
        assert in_force(model) == {
            "bad_words_ids": [[8], [7, 6]],
            "forced_eos_token_id": 5,
            "suppress_tokens": [9],
        }


def test_settings_that_one_greedy_pass_cannot_follow_are_refused() -> None:
    for settings in ({"num_beams": 4}, {"guidance_scale": 2.0}, {"prompt_lookup_num_tokens": 3}):
        with configured(**settings) as model, pytest.raises(InputError, match="generation: plain"):
            in_force(model)
    with pytest.raises(InputError, match="'greedy' is not known; use one of model, plain"):
        in_force(tiny.model("mha"), "greedy")


def test_no_setting_no_processor() -> None:
    inputs = tiny.inputs(tiny.UNEQUAL)
    assert make_processors(tiny.model("mha"), inputs["input_ids"], None, max_new_tokens=3) is None
    with configured(repetition_penalty=1.2) as model:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        assert make_processors(model, ids, mask, max_new_tokens=3, generation="plain") is None
        assert make_processors(model, ids, mask, max_new_tokens=3) is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 8, "eos_token_id": list(range(5, 60))},
        {"min_length": 80, "repetition_penalty": 1.1, "eos_token_id": list(range(5, 60))},
        {"suppress_tokens": list(range(5, 80)), "begin_suppress_tokens": list(range(80, 95))},
        {"forced_eos_token_id": 11, "exponential_decay_length_penalty": (2, 1.5), "eos_token_id": [11, 30]},
        {"encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 1},
        {"sequence_bias": [[[40], 3.0]], "bad_words_ids": [[50]], "renormalize_logits": True},
    ],
)
def test_a_padded_batch_answers_as_each_sample_alone(settings: dict[str, Any]) -> None:
    inputs = tiny.inputs(tiny.UNEQUAL)
    with configured(**settings) as model:
        alone = [answers(model, one(index))[0] for index in range(len(tiny.UNEQUAL))]
        processors = make_processors(model, inputs["input_ids"], inputs["attention_mask"], max_new_tokens=NEW)
        assert processors is not None
        with plain_generation(model):
            plain = answers(model, inputs)
            width = inputs["input_ids"].shape[1]
            together = answers(model, inputs, logits_processor=[BatchProcessor(processors, width)])
        assert in_force(model)  # as before
        pad = model.generation_config.pad_token_id
    unpadded = [row[: len(other)] for row, other in zip(together, alone, strict=True)]
    assert unpadded == alone
    assert all(token == pad for row, other in zip(together, alone) for token in row[len(other) :])
    assert plain != together
