"""Every family x policy x (one prompt, a left-padded batch of three), from the images to 24 decoded tokens.

What is kept equals the methods' definitions in plain loops (naive.py) over eager attentions; decoding equals dense
attention with the dropped positions at -inf; no budget equals the plain model; a padded row equals its own run.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from sparsemm import FullKV, make_policy
from sparsemm.generation.compress import compress
from sparsemm.models.loading import build_inputs
from sparsemm.models.patching import attention_implementation

from helpers import naive, tiny
from helpers.generation import generate
from helpers.oracle import dense_oracle, recorded
from helpers.tiny_families import FAMILY_NAMES, tiny_family

NEW, WINDOW, BUDGET = 24, 8, 24
METHODS = ("snapkv", "pyramidkv", "adakv", "sparsemm", "random_heads")
PROMPTS = {(60, 40): "Read it.", (20, 64): "What is in line 3?", (64, 64): "Name?"}  # by image size


class Answer(NamedTuple):
    tokens: torch.Tensor  # [B, new]
    logits: torch.Tensor  # [new, B, V]
    kept: list[torch.Tensor]  # L x bool [B, Hkv, T]


@cache
def inputs(family: str, rows: int | str):
    """The padded batch ("batch"), or one of its rows by itself."""
    _, processor = tiny_family(family)
    sizes = list(PROMPTS) if rows == "batch" else [list(PROMPTS)[rows]]
    images = [tiny.image(*size, seed=size[0]) for size in sizes]
    made = build_inputs(processor, images, [PROMPTS[size] for size in sizes])
    if rows == "batch":
        assert len(made["attention_mask"].sum(-1).unique()) == 3
        assert (made["attention_mask"][:, -1] == 1).all()
    return made


def answer(family, rows) -> Answer:
    """Greedy generation by the family's model as it is patched now."""
    return Answer(*generate(tiny_family(family)[0], inputs(family, rows), NEW), [])


def method(name, family):
    """The policy, and its definition: counts of one prompt's heads in a layer."""
    model, _ = tiny_family(family)
    text = model.config.get_text_config()
    layers, heads, kv_heads = text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads
    scores = np.random.default_rng(3).random((layers, heads)) ** 4
    scores /= scores.sum()
    drawn = np.random.default_rng(7).random((layers, kv_heads))
    drawn /= drawn.sum()
    policy = make_policy(name, budget=BUDGET, window=WINDOW, scores=scores, seed=7)

    def counts(pooled, layer):
        if name in ("sparsemm", "random_heads"):
            table = scores if name == "sparsemm" else drawn
            return naive.allocated(table.tolist(), pooled, BUDGET, WINDOW, layer)
        return getattr(naive, name)(pooled, BUDGET, WINDOW, layer, layers)

    return policy, counts


@cache
def pooled(family, rows):
    """[L][B] pooled attention [Hkv][P] of the eager model, pads cut off."""
    model, _ = tiny_family(family)
    kv_heads = model.config.get_text_config().num_key_value_heads
    mask = inputs(family, rows)["attention_mask"].bool()
    with attention_implementation(model, "eager"), torch.no_grad():
        out = model.generate(
            **inputs(family, rows), max_new_tokens=1, return_dict_in_generate=True, output_attentions=True
        )
    return [
        [
            naive.pooled(weights[:, -WINDOW:, real].tolist(), kv_heads, WINDOW)
            for weights, real in zip(layer, mask, strict=True)
        ]
        for layer in out.attentions[0]
    ]


def expected_kept(family, name, rows) -> list[torch.Tensor]:
    """What the definition keeps, L x bool [B, Hkv, T]."""
    mask = inputs(family, rows)["attention_mask"].bool()
    _, counts = method(name, family)
    result = []
    for layer, batch in enumerate(pooled(family, rows)):
        kept = torch.zeros(len(mask), len(batch[0]), mask.shape[1], dtype=torch.bool)
        for row, values in enumerate(batch):
            own = naive.kept(values, counts(values, layer), int(mask[row].sum()))
            kept[row][:, mask[row]] = torch.tensor(own)
        result.append(kept)
    return result


@cache
def compressed(family, name, rows) -> Answer:
    """Generation inside `compress`, with what each layer packed."""
    model, _ = tiny_family(family)
    policy = FullKV() if name == "fullkv" else method(name, family)[0]
    with recorded() as kept, compress(model, policy) as run:
        found = answer(family, rows)
    assert torch.equal(run.kept, torch.stack(kept).sum(-1))
    return found._replace(kept=kept)


def assert_equal(ours: Answer, theirs: Answer) -> None:
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=0)
    assert torch.equal(ours.tokens, theirs.tokens)
    assert ours.tokens.shape[1] == NEW


@pytest.mark.parametrize("rows", [0, "batch"], ids=["one", "padded"])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_no_budget_is_the_plain_model(family, rows):
    ours = compressed(family, "fullkv", rows)
    assert_equal(ours, answer(family, rows))
    real = inputs(family, rows)["attention_mask"].bool()
    assert all(torch.equal(kept, real[:, None].expand(kept.shape)) for kept in ours.kept)


@pytest.mark.parametrize("rows", [0, "batch"], ids=["one", "padded"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_budget_is_its_definition_and_dense_attention_with_drops(family, name, rows):
    ours = compressed(family, name, rows)
    kept = expected_kept(family, name, rows)
    for mine, theirs in zip(ours.kept, kept, strict=True):
        assert torch.equal(mine, theirs)
    share = (
        torch.stack(kept).sum() / inputs(family, rows)["attention_mask"].sum() / kept[0].shape[1] / len(kept)
    )
    assert share < 0.7  # much is dropped, so that what follows says something
    with dense_oracle(tiny_family(family)[0], kept):
        assert_equal(ours, answer(family, rows))


@pytest.mark.parametrize("name", ["fullkv", *METHODS])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_padded_row_is_its_own_run(family, name):
    together = compressed(family, name, "batch")
    real = inputs(family, "batch")["attention_mask"].bool()
    for row in range(len(PROMPTS)):
        alone = compressed(family, name, row)
        torch.testing.assert_close(together.logits[:, row], alone.logits[:, 0], atol=1e-5, rtol=0)
        assert torch.equal(together.tokens[row], alone.tokens[0])
        for mine, theirs in zip(together.kept, alone.kept, strict=True):
            assert torch.equal(mine[row][:, real[row]], theirs[0])


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_budgets_change_the_answer(family):
    """Policies must differ on these models, else the comparisons above would show nothing."""
    answers = [compressed(family, name, "batch").logits for name in ("fullkv", "snapkv", "sparsemm")]
    assert (answers[0] - answers[1]).abs().max() > 1e-3
    assert (answers[1] - answers[2]).abs().max() > 1e-3
