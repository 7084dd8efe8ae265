"""Prompts of one image share its prefill: every family's answers and kept tokens are those without sharing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsemm import make_policy
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.generation.packing import Packing
from sparsemm.generation.prefill import PrefillLayer, capture_prefill
from sparsemm.models.loading import build_inputs, shape
from sparsemm.policies import Policy

from helpers import tiny
from helpers.tiny_families import FAMILY_NAMES, tiny_family

ASKED = [  # an image's number and a question about it
    (0, "Read line 1."),
    (1, "Name?"),
    (0, "Read all the lines from the last one up."),
    (2, "What is in line 3?"),
    (2, "What is in line 4?"),
    (0, "Sum?"),
]
NAMES = [f"image-{number}" for number, _ in ASKED]


def inputs(family: str) -> Any:
    images = [tiny.image(*tiny.UNEQUAL[number], seed=number) for number, _ in ASKED]
    return build_inputs(tiny_family(family)[1], images, [question for _, question in ASKED])


def policies(family: str) -> list[Policy]:
    sizes = shape(tiny_family(family)[0])
    drawn = np.random.default_rng(3).random((sizes.num_layers, sizes.num_heads)) ** 4
    options: dict[str, Any] = {"window": 8, "scores": drawn / drawn.sum(), "num_kv_heads": sizes.num_kv_heads}
    labels = ("snapkv", "pyramidkv", "adakv", "sparsemm", "snapkv@accumulated_attention", "adakv@image_aware")
    cells = [("fullkv", 0), *((label, 20) for label in labels)]
    return [make_policy(label, budget=budget, **options) for label, budget in cells]


def captured(model: Any, batch: Any, same: list[str] | None) -> tuple[list[PrefillLayer], torch.Tensor]:
    layers: list[PrefillLayer] = []
    out = capture_prefill(model, batch, layers.append, same=same)
    return layers, out.logits


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_prefill_is_that_of_separate_prompts(family: str) -> None:
    model, batch = tiny_family(family)[0], inputs(family)
    mask = batch["attention_mask"].bool()
    (once, logits), (each, wanted) = captured(model, batch, NAMES), captured(model, batch, None)
    assert torch.allclose(logits, wanted, atol=1e-4)
    for one, other in zip(once, each, strict=True):
        assert torch.equal(one.valid, mask)
        for side in ("query", "key", "value"):
            found, expected = (getattr(layer, side).transpose(1, 2)[mask] for layer in (one, other))
            assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_answers_and_kept_tokens_are_those_of_separate_prompts(family: str) -> None:
    model, batch, chosen = tiny_family(family)[0], inputs(family), policies(family)
    once = run_cells(model, batch, chosen, max_new_tokens=6, stop=(), same=NAMES)
    each = run_cells(model, batch, chosen, max_new_tokens=6, stop=())
    assert torch.equal(once.kept, each.kept)
    assert once.tokens == each.tokens


def test_what_is_computed_is_the_image_once_and_every_question() -> None:
    model, batch = tiny_family("llava_next-llama")[0], inputs("llava_next-llama")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    packing = Packing.of(ids, mask, shape(model).image_token_id, NAMES)
    assert packing is not None
    assert len(packing.rows) == 3  # images
    tokens = ids.flatten()[packing.places]
    assert int((tokens == shape(model).image_token_id).sum()) == sum(
        int((ids[row] == shape(model).image_token_id).sum()) for row in packing.rows
    )
    assert torch.equal(tokens[packing.back][mask.bool()], ids[mask.bool()])
    assert len(tokens) < 0.7 * int(mask.sum())
    assert packing.last.tolist() == packing.back[:, -1].tolist()
    # "What is in line " is computed once too: what is left of both questions is as long as its own end.
    ends = [part.stop - part.start for part in packing.parts[-2:]]
    asked = int((ids[3] != ids[4]).nonzero()[0])
    assert ends == [ids.shape[1] - asked] * 2


def test_nothing_is_packed_where_nothing_is_shared() -> None:
    batch = inputs("llava_next-llama")
    token = shape(tiny_family("llava_next-llama")[0]).image_token_id
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert Packing.of(ids, mask, token, [str(row) for row in range(len(ids))]) is None
    # A question before its image: the prompts differ before the image ends.
    places = (ids == token).long().argmax(1) - 1
    asked = ids.clone()
    asked[torch.arange(len(ids)), places] = torch.arange(len(ids)) + 40
    assert Packing.of(asked, mask, token, NAMES) is None
