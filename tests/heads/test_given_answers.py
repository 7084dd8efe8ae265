"""Tokens of a transcript that a model finds, against plain forward passes; masks change them and are undone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsemm.errors import InputError
from sparsemm.evaluation.reading_masks import reader_of, reading_masks
from sparsemm.heads import generate_probe
from sparsemm.heads.given_answers import right_of_images, right_of_text
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.text_pages import text_pages
from sparsemm.models.loading import build_inputs
from sparsemm.results.parquet import read_table, write_table

from helpers import tiny
from helpers.tiny_families import tiny_family

PROMPT = "Read it."


def by_hand(logits: torch.Tensor, ids: list[int], steps: list[int]) -> int:
    return sum(int(logits[step - 1].argmax()) == ids[step] for step in steps)


def test_text_is_read_as_in_plain_forward_passes_in_batches_of_any_size() -> None:
    model, processor = tiny.model("gqa"), tiny.processor()
    pages = text_pages(processor, generate_probe(3, seed=0), PROMPT)
    found = [right_of_text(model, pages, batch_size=size) for size in (1, 2, 3)]
    with torch.no_grad():
        for index, page in enumerate(pages):
            logits = model(input_ids=torch.tensor([page.ids])).logits[0]
            assert found[0][index] == by_hand(logits, list(page.ids), list(page.steps))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("family", ["llava_next", "qwen2_vl"])
def test_images_are_read_as_in_a_plain_forward_pass(family: str) -> None:
    model, processor = tiny_family(family)
    probe = generate_probe(2, seed=0)
    pages = text_pages(processor, probe, PROMPT)
    found = right_of_images(model, processor, probe, pages, PROMPT)
    for item, page, count in zip(probe, pages, found):
        inputs = build_inputs(processor, [item.image], [PROMPT])
        answer = list(page.ids[page.steps[0] :])
        length = inputs["input_ids"].shape[1]
        ids = [*inputs["input_ids"][0].tolist(), *answer]
        inputs["input_ids"] = torch.tensor([ids])
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(kinds, (0, len(answer)))
        with torch.no_grad():
            logits = model(**inputs).logits[0]
        steps = [step - page.steps[0] + length for step in page.steps]
        assert count == by_hand(logits, ids, steps)
    with pytest.raises(InputError, match="not those of the images"):
        right_of_images(model, processor, probe[::-1], pages, PROMPT)


@pytest.mark.parametrize("images", [False, True])
def test_masked_readings_are_of_every_mask_and_undone(images: bool, tmp_path: object) -> None:
    model, processor = tiny.model("mha"), tiny.processor()
    probe = generate_probe(2, seed=0)
    pages = text_pages(processor, probe, PROMPT)
    layers, heads = model.config.text_config.num_hidden_layers, model.config.text_config.num_attention_heads
    values = np.arange(1.0, layers * heads + 1).reshape(layers, heads)
    rankings = {"visual": HeadScores(values), "copying": HeadScores(values[::-1])}
    read = reader_of(model, processor, probe, pages, prompt=PROMPT, images=images, batch_size=2)
    before = read()
    frame = reading_masks(model, read, pages, rankings, fractions=[0.3, 1.0], seeds=[0, 1])
    assert np.array_equal(read(), before)
    of_kind = dict(list(frame.groupby("kind")))
    assert {kind: len(rows) for kind, rows in of_kind.items()} == {
        "none": 2,
        "visual": 4,
        "copying": 4,
        "random": 8,
    }
    assert of_kind["none"]["right"].tolist() == before.tolist()
    whole = frame[frame["fraction"] == 1.0].groupby(["image_id"])["right"].nunique()
    assert (whole == 1).all(), "all heads masked is the same whatever ranked them"
    path = f"{tmp_path}/masks.parquet"
    write_table(path, frame, "reading_masks", {})
    assert len(read_table(path, "reading_masks")) == len(frame)
    with pytest.raises(InputError, match="visual heads are not this model's"):
        reading_masks(model, read, pages, {"visual": HeadScores(values[:1])}, fractions=[0.1], seeds=[0])
