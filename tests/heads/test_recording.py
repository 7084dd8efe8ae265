"""The attention rows behind generated tokens, in every family, against eager attention."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers import DynamicCache

from sparsemm.heads.recording import ArgmaxRecorder, RowRecorder, generate_greedily, recording
from sparsemm.models.loading import build_inputs, shape
from sparsemm.models.patching import attention_implementation

from helpers.tiny import image
from helpers.tiny_families import FAMILY_NAMES, tiny_family

NEW = 5
SIZES = [(60, 40), (100, 64)]  # prompts of two lengths: a padded batch


class InDouble(TorchFunctionMode):
    """Inside, casts to float32 (of norms, softmax and rotary positions) are casts to float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def doubled(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(doubled, args), **{name: doubled(value) for name, value in (kwargs or {}).items()})


def by_hand(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[list[int], list[list[list[int]]]]:
    """Greedy tokens of one row with plain positions on all axes, and each head's attention peak, [S][L][Hq]."""
    inputs = {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}
    positions = torch.arange(inputs["input_ids"].shape[1]).expand(3, 1, -1)
    tokens, peaks, cache = [], [], DynamicCache()
    with attention_implementation(model, "eager"), torch.no_grad():
        for _ in range(NEW):
            out = model(**inputs, position_ids=positions, past_key_values=cache, output_attentions=True)
            tokens.append(int(out.logits[0, -1].argmax()))
            peaks.append([rows[0, :, -1].argmax(-1).tolist() for rows in out.attentions])
            inputs, positions = {"input_ids": torch.tensor([tokens[-1:]])}, positions[..., -1:] + 1
    return tokens, peaks


@contextmanager
def settings_of(model: Any, **settings: Any) -> Iterator[None]:
    """The model with other settings in its generation_config."""
    before = model.generation_config
    model.generation_config = copy.deepcopy(before)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    try:
        yield
    finally:
        model.generation_config = before


def eager(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
    """What transformers generates and attends to."""
    with attention_implementation(model, "eager"), torch.no_grad():
        return model.generate(
            **inputs,
            max_new_tokens=NEW,
            do_sample=False,
            output_attentions=True,
            return_dict_in_generate=True,
        )


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_peaks_of_a_padded_batch_equal_eager_attention(name: str) -> None:
    model, processor = tiny_family(name)
    pictures = [image(*size, seed=index) for index, size in enumerate(SIZES)]
    inputs = build_inputs(processor, pictures, ["Read it."] * 2)
    size = shape(model)
    recorder = ArgmaxRecorder(size.num_layers)
    with recording(model, recorder):
        answers = generate_greedily(model, processor.tokenizer, inputs, NEW)
    assert [len(answer) for answer in answers] == [NEW] * 2, "a random model must not stop by chance"
    peaks = recorder.positions()
    for row, picture in enumerate(pictures):
        alone = build_inputs(processor, [picture], ["Read it."])
        out = eager(model, alone)
        length = alone["input_ids"].shape[1]
        assert out.sequences[0, length:].tolist() == answers[row]
        padding = inputs["input_ids"].shape[1] - length
        for step in range(NEW):
            for layer in range(size.num_layers):
                attended = out.attentions[step][layer][0, :, -1]
                assert (peaks[row, step, layer] - padding).tolist() == attended.argmax(dim=-1).tolist()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_rows_equal_eager_attention(name: str) -> None:
    """In double precision throughout: peaked attention amplifies float32 rounding to 1e-6 and more."""
    made, processor = tiny_family(name)
    model = copy.deepcopy(made).double()
    inputs = build_inputs(processor, [image(*SIZES[0])], ["Read it."])
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    size = shape(model)
    heads = [(layer, head) for layer in range(size.num_layers) for head in range(size.num_heads)]
    recorder = RowRecorder(heads)
    with InDouble():
        with recording(model, recorder):
            (answer,) = generate_greedily(model, processor.tokenizer, inputs, NEW)
        out = eager(model, inputs)
    assert out.sequences[0, inputs["input_ids"].shape[1] :].tolist() == answer
    for layer, head in heads:
        rows = recorder.rows((layer, head))
        assert len(rows) == NEW
        for row, attentions in zip(rows, out.attentions):
            np.testing.assert_allclose(row, attentions[layer][0, head, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_released_positions_are_plain_on_all_axes(name: str) -> None:
    """At prefill and decode, in a padded batch, whatever `generate` left in the model before."""
    model, processor = tiny_family(name)
    pictures = [image(*size, seed=index) for index, size in enumerate(SIZES)]
    inputs = build_inputs(processor, pictures, ["Read it."] * 2)
    size = shape(model)
    own = generate_greedily(model, processor.tokenizer, inputs, NEW)
    recorder = ArgmaxRecorder(size.num_layers)
    with recording(model, recorder):
        answers = generate_greedily(model, processor.tokenizer, inputs, NEW, positions="released")
    assert answers != own, "a prompt with an image must tell the positions apart"
    for row, picture in enumerate(pictures):
        alone = build_inputs(processor, [picture], ["Read it."])
        tokens, peaks = by_hand(model, alone)
        padding = inputs["input_ids"].shape[1] - alone["input_ids"].shape[1]
        assert answers[row] == tokens
        assert (recorder.positions()[row] - padding).tolist() == peaks


@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if "qwen" not in name])
def test_families_with_plain_positions_know_no_others(name: str) -> None:
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [image(*size) for size in SIZES], ["Read it."] * 2)
    usual, released = (
        generate_greedily(model, processor.tokenizer, inputs, NEW, positions=positions)
        for positions in ("mrope", "released")
    )
    assert usual == released


@pytest.mark.parametrize("name", ["llava_next-llama", "qwen2_vl"])
def test_generation_settings_act_and_can_be_switched_off(name: str) -> None:
    """A row of a padded batch gets what `generate` gives it alone, with the checkpoint's settings."""
    model, processor = tiny_family(name)
    pictures = [image(*size, seed=index) for index, size in enumerate(SIZES)]
    inputs = build_inputs(processor, pictures, ["Read it."] * 2)

    def alone() -> list[list[int]]:
        prompts = [build_inputs(processor, [picture], ["Read it."]) for picture in pictures]
        out = [model.generate(**each, max_new_tokens=12, do_sample=False) for each in prompts]
        return [row[0, each["input_ids"].shape[1] :].tolist() for row, each in zip(out, prompts)]

    plain = alone()
    with settings_of(model, repetition_penalty=1.5, do_sample=True, top_k=1):
        with_settings = alone()
        ours = generate_greedily(model, processor.tokenizer, inputs, 12)
        off = generate_greedily(model, processor.tokenizer, inputs, 12, generation="plain")
    assert ours == with_settings != plain
    assert off == plain == generate_greedily(model, processor.tokenizer, inputs, 12)
