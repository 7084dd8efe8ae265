"""Recipes of a score against the scores of the scorer, and losses of masked heads against plain forward passes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from sparsemm.evaluation.head_losses import head_groups, head_losses
from sparsemm.heads import generate_probe
from sparsemm.heads.recipes import score_recipes
from sparsemm.heads.scoring import score_samples
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import build_inputs
from sparsemm.results.parquet import read_table, write_table

from helpers import tiny

SETTINGS = ScoringSettings(max_new_tokens=12, progress=False)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """A random model that answers in letters and digits, so that some tokens are matched."""
    import copy

    made, tokenizer = copy.deepcopy(tiny.model("gqa")), tiny.processor().tokenizer
    with torch.no_grad():
        for index in range(made.lm_head.weight.shape[0]):
            text = tokenizer.decode([index])
            if not (text.isalnum() and text.isascii() and not text.islower()):
                made.lm_head.weight[index] = 0
    return made


def test_recipes_of_peaks_are_the_scores_of_the_scorer(model: torch.nn.Module, tmp_path: object) -> None:
    probe = generate_probe(2, seed=0)
    frame = score_recipes(model, tiny.processor(), probe, SETTINGS)
    write_table(f"{tmp_path}/recipes.parquet", frame, "recipes", {})
    assert len(read_table(f"{tmp_path}/recipes.parquet", "recipes")) == len(frame)
    assert frame.groupby(["matching", "grid", "measure", "weight"]).ngroups == 3 * 2 * 2 * 2
    hit = False
    for matching in ("stripped", "released", "exact"):
        for grid in ("released", "all"):
            chosen = ScoringSettings(max_new_tokens=12, matching=matching, convention=grid, progress=False)
            known = score_samples(model, tiny.processor(), probe, chosen)
            rows = frame[(frame["matching"] == matching) & (frame["grid"] == grid)]
            for weight, values in (("plain", known.hits), ("tokens", known.weights)):
                own = rows[(rows["measure"] == "argmax") & (rows["weight"] == weight)]
                own = own.sort_values(["image_id", "layer", "head"])["score"].to_numpy()
                assert np.allclose(own, values.ravel())
                hit |= bool(own.any())
    assert hit
    mass = frame[frame["measure"] == "mass"]
    assert mass["score"].max() > 0
    plain, weighted = (mass[mass["weight"] == name]["score"].to_numpy() for name in ("plain", "tokens"))
    assert (weighted <= plain + 1e-12).all()


def test_losses_are_those_of_masked_forward_passes(model: torch.nn.Module, tmp_path: object) -> None:
    probe, processor = generate_probe(2, seed=0), tiny.processor()
    layers, heads = model.config.text_config.num_hidden_layers, model.config.text_config.num_attention_heads
    groups = head_groups(layers * heads, 5, None, seed=0)
    assert sorted(itertools.chain(*groups)) == list(range(layers * heads))
    frame = head_losses(model, processor, probe, groups, SETTINGS)
    write_table(f"{tmp_path}/losses.parquet", frame, "head_losses", {})
    assert len(read_table(f"{tmp_path}/losses.parquet", "head_losses")) == 2 * (1 + len(groups))
    inputs = build_inputs(processor, [probe[0].image], [SETTINGS.prompt])
    length = inputs["input_ids"].shape[1]
    whole = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    for number in (0, 1, len(groups)):
        masked = [divmod(head, heads) for head in ([[], *groups][number])]
        with torch.no_grad(), mask_heads(model, masked):
            logits = model(**inputs | {"input_ids": whole, "attention_mask": torch.ones_like(whole)}).logits[
                0
            ]
        row = frame[(frame["image_id"] == probe[0].id) & (frame["group"] == number)].iloc[0]
        end = length + int(row["tokens"])
        likely = logits[length - 1 : end - 1].log_softmax(-1)
        wanted = -likely.gather(1, whole[0, length:end, None]).sum()
        assert row["loss"] == pytest.approx(float(wanted), rel=1e-4)


def test_groups_are_random_and_bounded() -> None:
    assert head_groups(7, 1, 3, seed=1) == head_groups(7, 1, None, seed=1)[:3]
    assert [len(group) for group in head_groups(7, 3, None, seed=1)] == [3, 3, 1]
    assert head_groups(70, 1, None, seed=1) != head_groups(70, 1, None, seed=2)
