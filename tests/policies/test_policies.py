"""Every policy against its definition in plain loops: short prompts, padded batches, one layer, one head."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import HeadScores
from sparsemm.budget.allocation import allocate_array, random_scores
from sparsemm.errors import InputError
from sparsemm.policies import (
    POLICY_NAMES,
    AdaKV,
    FullKV,
    LocalWindow,
    Policy,
    PyramidKV,
    RandomHeads,
    SparseMM,
    make_policy,
    parse_label,
)
from sparsemm.policies.registry import needs_scores

from helpers import naive

WINDOW = 4
SCORES = HeadScores(values=np.random.default_rng(1).random((5, 6)) ** 4)
NEG = float("-inf")


def naive_sparsemm(pooled, budget, window, layer, layers):
    return naive.allocated(SCORES.values[:layers], pooled, budget, window, layer)


def naive_random(pooled, budget, window, layer, layers):
    return naive.allocated(random_scores(layers, len(pooled), 7), pooled, budget, window, layer)


def naive_visual_ada(pooled, budget, window, layer, layers):
    return naive.visual_ada(SCORES.values[:layers], pooled, budget, window, layer, layers)


def naive_duo(pooled, budget, window, layer, layers):
    return naive.duo_heads(SCORES.values[:layers], pooled, budget, window, layer)


def naive_full(pooled, budget, window, layer, layers):
    return [len(pooled[0])] * len(pooled)


def naive_local(pooled, budget, window, layer, layers):
    return [0] * len(pooled)


def make(name: str, budget: int) -> Policy:
    return make_policy(name, budget=budget, window=WINDOW, scores=SCORES, seed=7)


NAIVE = {
    "fullkv": naive_full,
    "snapkv": naive.snapkv,
    "pyramidkv": naive.pyramidkv,
    "adakv": naive.adakv,
    "sparsemm": naive_sparsemm,
    "random_heads": naive_random,
    "visual_ada": naive_visual_ada,
    "duo_heads": naive_duo,
    "local_window": naive_local,
}


def test_every_policy_has_a_reference() -> None:
    assert set(NAIVE) == set(POLICY_NAMES)


@pytest.mark.parametrize("name", POLICY_NAMES)
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@given(
    budget=st.integers(WINDOW + 1, 40),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=3),
    layer=st.integers(0, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_equals_its_definition_also_in_padded_batches(
    name: str, kv_heads: int, budget: int, lengths: list[int], layer: int, seed: int
) -> None:
    rng = random.Random(seed)
    width = max(lengths)
    rows = [[[rng.random() ** 3 for _ in range(n)] for _ in range(kv_heads)] for n in lengths]
    padded = [[[NEG] * (width - n) + head for head in row] for n, row in zip(lengths, rows)]
    pooled = torch.tensor(padded, dtype=torch.float32).reshape(len(lengths), kv_heads, width)
    keep = make(name, budget).keep(pooled, layer=layer, num_layers=5)
    assert keep.dtype == torch.int64
    assert keep.shape == (len(lengths), kv_heads)
    for got, row, length in zip(keep.tolist(), rows, lengths):
        assert all(0 <= k <= length for k in got)
        want = NAIVE[name](
            torch.tensor(row, dtype=torch.float32).reshape(kv_heads, length).tolist(),
            budget,
            WINDOW,
            layer,
            5,
        )
        assert got == want


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_an_unlimited_budget_keeps_everything(name: str) -> None:
    pooled = torch.rand(2, 3, 17)
    if name == "local_window":
        assert make(name, 10**6).window == 10**6  # all of it is the window
        return
    for layer in range(5):
        assert (make(name, 10**6).keep(pooled, layer=layer, num_layers=5) == 17).all()


@pytest.mark.parametrize("name", [n for n in POLICY_NAMES if not needs_scores(n)])
def test_one_layer(name: str) -> None:
    pooled = torch.rand(1, 1, 30)
    keep = make(name, 14).keep(pooled, layer=0, num_layers=1)
    assert keep.item() == {"fullkv": 30, "local_window": 0}.get(name, 10)


def test_pyramid_gives_early_layers_more_and_meets_the_mean() -> None:
    policy = PyramidKV(104, beta=20, window=WINDOW)
    keep = [policy.keep(torch.rand(1, 2, 1000), layer=i, num_layers=6)[0, 0].item() for i in range(6)]
    assert keep == [195, 157, 119, 81, 43, 5]
    assert sum(keep) / 6 == 100


def test_adakv_gives_the_head_with_the_larger_values_more() -> None:
    pooled = torch.stack([torch.linspace(1, 2, 20), torch.full((20,), 0.01)])[None]
    assert AdaKV(14, window=WINDOW).keep(pooled, layer=0, num_layers=1).tolist() == [[18, 2]]


def test_adakv_ties_go_to_the_lower_head() -> None:
    pooled = torch.full((1, 3, 8), 0.5)
    # 3 * 4 equal entries: 8 from head 0, 4 from head 1
    assert AdaKV(8, floor=0.0, window=WINDOW).keep(pooled, layer=0, num_layers=1).tolist() == [[8, 4, 0]]


def test_adakv_without_any_attention_before_the_window() -> None:
    keep = AdaKV(8, floor=0.5, window=WINDOW).keep(torch.zeros(1, 2, 9), layer=0, num_layers=1)
    assert keep.sum().item() == 8


def test_sparsemm_takes_scores_arrays_and_tensors_alike() -> None:
    pooled = torch.rand(1, 3, 50)
    grouped = SCORES.per_kv_head(3)
    for scores in (SCORES, SCORES.values, grouped, torch.tensor(grouped), grouped.tolist()):
        policy = SparseMM(scores, 20, window=WINDOW)
        for layer in range(5):
            want = np.minimum(allocate_array(grouped, 20, window=WINDOW)[layer], 50)
            assert policy.keep(pooled, layer=layer, num_layers=5).tolist() == [want.tolist()]


def test_waterfill_keeps_the_total_of_every_row() -> None:
    pooled = torch.rand(2, 6, 40)
    pooled[1, :, :15] = NEG
    policy = SparseMM(SCORES, 20, waterfill=True, window=WINDOW)
    keep = torch.stack([policy.keep(pooled, layer=i, num_layers=5) for i in range(5)])
    assert keep.sum(dim=(0, 2)).tolist() == [16 * 30, 16 * 30]
    assert keep[:, 0].max() <= 40
    assert keep[:, 1].max() <= 25
    released = SparseMM(SCORES, 20, window=WINDOW)
    lost = torch.stack([released.keep(pooled, layer=i, num_layers=5) for i in range(5)])
    assert lost.sum() < keep.sum()


def test_random_heads_depend_on_the_seed_alone() -> None:
    pooled = torch.rand(1, 6, 50)
    one, same, other = (RandomHeads(20, seed, window=WINDOW) for seed in (1, 1, 2))
    assert torch.equal(one.keep(pooled, layer=2, num_layers=5), same.keep(pooled, layer=2, num_layers=5))
    assert not torch.equal(one.keep(pooled, layer=2, num_layers=5), other.keep(pooled, layer=2, num_layers=5))


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_policies_are_frozen_and_fit_the_protocol(name: str) -> None:
    policy = make(name, 20)
    assert isinstance(policy, Policy)
    assert policy.name == name
    assert policy.budget == (None if name == "fullkv" else 20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.kernel = 7  # type: ignore[misc]


def test_labels() -> None:
    def made(label: str):
        return make_policy(
            label, budget=64, window=8, kernel=3, scores=SCORES, num_kv_heads=3, rho=0.2, seed=5
        )

    assert made("sparsemm").rho == 0.2
    assert made("sparsemm[rho=0.3]").rho == 0.3
    both = made("sparsemm[rho=1.0, waterfill=true]")
    assert (both.rho, both.waterfill, both.window, both.kernel) == (1.0, True, 8, 3)
    assert made("pyramidkv[beta=5]") == PyramidKV(64, beta=5, window=8, kernel=3)
    assert made("adakv[floor=0.5]") == AdaKV(64, floor=0.5, window=8, kernel=3)
    assert made("random_heads") == RandomHeads(64, 5, rho=0.2, window=8, kernel=3)
    assert made("random_heads[seed=9]").seed == 9
    assert made("fullkv") == FullKV(window=8, kernel=3)
    assert made("local_window") == LocalWindow(64, kernel=3)


def test_a_label_names_the_probe_set_of_its_scores() -> None:
    wild = HeadScores(values=np.roll(SCORES.values, 1, axis=0))
    given = {"scores": SCORES, "set_scores": {"wild": wild}, "budget": 64, "window": 8}
    assert make_policy("sparsemm", **given).scores is SCORES
    assert make_policy("sparsemm[probe=wild]", **given).scores is wild
    both = make_policy("sparsemm[probe=wild, rho=0.5]", **given)
    assert both.rho == 0.5
    assert both.scores is wild
    assert parse_label("sparsemm[probe=wild]")[:2] == ("sparsemm", {"probe": "wild"})


@pytest.mark.parametrize(
    ("label", "change", "words"),
    [
        ("sparsem", {}, "'sparsem' is not known: did you mean 'sparsemm'"),
        ("h2o", {}, "'h2o' is not known: choose from fullkv"),
        ("sparsemm[rho=0.3", {}, "not known"),
        ("sparsemm[beta=2]", {}, "'beta' is no setting of sparsemm"),
        ("snapkv[beta=2]", {}, "none"),
        ("sparsemm[rho=much]", {}, "'much' is no value for rho"),
        ("sparsemm[waterfill=perhaps]", {}, "'perhaps' is no value"),
        ("sparsemm[rho=1.5]", {}, "rho is 1.5"),
        ("sparsemm[probe=wild]", {}, "no scores of a probe set 'wild' are given; there are none"),
        ("sparsemm[probe=w]", {"set_scores": {"wild": SCORES}}, "'w' are given; there are wild"),
        ("snapkv[probe=wild]", {}, "'probe' is no setting of snapkv"),
        ("sparsemm", {"scores": None}, "needs head scores"),
        ("sparsemm", {"num_kv_heads": 4}, "do not group into 4"),
        ("snapkv", {"budget": None}, "needs a budget"),
        ("snapkv", {"budget": 8}, "budget 8 is not above the window"),
        ("adakv", {"kernel": 2}, "kernel is 2"),
        ("adakv[floor=2]", {}, "floor is 2"),
        ("pyramidkv[beta=0]", {}, "beta is 0"),
        ("local_window", {"budget": 0}, "budget is 0"),
        ("fullkv", {"window": 0}, "window is 0"),
    ],
)
def test_bad_settings_are_one_clear_line(label: str, change, words: str) -> None:
    arguments = {"budget": 64, "window": 8, "scores": SCORES} | change
    with pytest.raises(InputError, match=words) as caught:
        make_policy(label, **arguments)
    assert "\n" not in str(caught.value)


def test_scores_of_another_model_are_refused() -> None:
    policy = SparseMM(SCORES, 20, window=WINDOW)
    with pytest.raises(InputError, match="5 layers"):
        policy.keep(torch.rand(1, 6, 9), layer=0, num_layers=4)
    with pytest.raises(InputError, match="do not group"):
        policy.keep(torch.rand(1, 4, 9), layer=0, num_layers=5)
    with pytest.raises(InputError, match="NaN"):
        SparseMM(np.array([[np.nan, 1.0]]), 64)
