"""What the audit says is kept, against the policies themselves and against the paper's numbers."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import HeadScores, allocate, audit
from sparsemm.policies import SparseMM, make_policy

from helpers.published import PUBLISHED, needs_published

WINDOW = 8
NEG = float("-inf")


@st.composite
def score_tables(draw: st.DrawFn) -> np.ndarray:
    """Even, mild and very unequal scores, and all of them zero."""
    layers, heads = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    cells = st.lists(st.integers(0, 1000), min_size=layers * heads, max_size=layers * heads)
    values = np.array(draw(cells), dtype=np.float64).reshape(layers, heads) ** draw(st.sampled_from([1, 4]))
    return values / values.sum() if values.any() else values


def kept_by(policy, lengths: list[int], shape: tuple[int, int]) -> torch.Tensor:
    """Tokens kept beyond the window, [L, B, Hkv], for a left-padded batch of prompts of these lengths."""
    past = [max(length - WINDOW, 0) for length in lengths]
    pooled = torch.rand(len(past), shape[1], max(past))
    for row, length in enumerate(past):
        pooled[row, :, : max(past) - length] = NEG
    return torch.stack([policy.keep(pooled, layer=i, num_layers=shape[0]) for i in range(shape[0])])


@needs_published
def test_the_released_recipe_loses_what_the_paper_facts_say() -> None:
    scores = HeadScores.load(PUBLISHED)
    kept: dict[str, list[float]] = defaultdict(list)
    for row in audit(scores.values, [256, 512, 1024, 2048], [2433]):
        kept[row["policy"]].append(row["effective"])
    assert [round(value) for value in kept["sparsemm"]] == [241, 388, 561, 777]
    assert kept["sparsemm[waterfill=true]"] == [256, 512, 1024, 2048]
    assert kept["snapkv"] == [256, 512, 1024, 2048]
    assert kept["fullkv"] == [2433] * 4


@needs_published
@pytest.mark.parametrize("kv_heads", [32, 8])
def test_published_scores_meet_every_budget_with_water_filling(kv_heads: int) -> None:
    scores = HeadScores.load(PUBLISHED).per_kv_head(kv_heads)
    for row in audit(scores, [33, 64, 256, 2048, 2433, 4096], [32, 600, 2433, 32768]):
        limit = min(row["budget"], row["prompt_tokens"])
        if row["policy"] in ("sparsemm[waterfill=true]", "snapkv"):
            assert row["effective"] == limit
            assert row["lost"] == 0
        if row["policy"] in ("sparsemm", "random_heads"):
            assert row["lost"] >= -1  # whole tokens: a mean may round up, by less than one a head


@given(score_tables(), st.integers(WINDOW + 1, 80), st.lists(st.integers(0, 70), min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_agrees_with_what_the_policies_keep(scores: np.ndarray, budget: int, lengths: list[int]) -> None:
    rows = audit(scores, [budget], lengths, window=WINDOW, seed=3)
    names = {row["policy"] for row in rows}
    assert names == {
        *("fullkv", "snapkv", "pyramidkv", "sparsemm", "sparsemm[waterfill=true]", "random_heads")
    }
    for name in names:
        wanted = scores if scores.any() else np.full_like(scores, 1 / scores.size)
        made = make_policy(name, budget=budget, window=WINDOW, scores=HeadScores(values=wanted), seed=3)
        kept = kept_by(made, lengths, scores.shape).double().mean(dim=(0, 2))
        for length, mean in zip(lengths, kept.tolist(), strict=True):
            row = next(r for r in rows if (r["policy"], r["prompt_tokens"]) == (name, length))
            assert row["effective"] == pytest.approx(mean + min(WINDOW, length))
            target = length if name == "fullkv" else min(budget, length)
            assert row["lost"] == pytest.approx(target - row["effective"])


@given(
    score_tables(),
    st.integers(WINDOW + 1, 80),
    st.lists(st.integers(0, 70), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(deadline=None, max_examples=60)
def test_sparsemm_with_water_filling_meets_the_budget_in_every_row_of_a_padded_batch(
    scores: np.ndarray, budget: int, lengths: list[int], rho: float
) -> None:
    """Sums, bounds and order of the heads, from window + 1 to beyond the prompt."""
    policy = SparseMM(scores, budget, rho=rho, waterfill=True, window=WINDOW)
    kept = kept_by(policy, lengths, scores.shape)
    order = np.argsort(scores.ravel(), kind="stable")
    different = np.diff(scores.ravel()[order]) > 0
    for row, length in enumerate(lengths):
        past = max(length - WINDOW, 0)
        own = kept[:, row]
        assert own.min() >= min(int((budget - WINDOW) * rho), past)
        assert own.max() <= past
        assert own.sum() == min(budget - WINDOW, past) * scores.size
        assert torch.equal(own, allocate(scores, budget, window=WINDOW, rho=rho, prompt_tokens=length))
        assert (np.diff(own.numpy().ravel()[order])[different] >= 0).all()
