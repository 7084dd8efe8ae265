"""The allocation against the released recipe, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import HeadScores, allocate
from sparsemm.budget.allocation import allocate_array
from sparsemm.errors import InputError

from helpers.published import PUBLISHED, needs_published


def released(scores: np.ndarray, budget: int, window: int, ratio: float) -> torch.Tensor:
    """The authors' recipe, written again from the paper's facts with torch's rounding."""
    layers, heads = scores.shape
    base = budget - window
    low = int(base * ratio)
    return torch.round(torch.tensor(scores) * ((base - low) * layers * heads) + low).long()


@st.composite
def score_tables(draw: st.DrawFn) -> np.ndarray:
    layers, heads = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    cells = st.lists(st.integers(0, 1000), min_size=layers * heads, max_size=layers * heads)
    values = np.array(draw(cells), dtype=np.float64).reshape(layers, heads)
    power = draw(st.sampled_from([0, 1, 4]))  # even, mild and very unequal
    values = values**power if power else np.ones_like(values)
    return values / values.sum() if values.any() else values


budgets = st.integers(1, 400)
windows = st.integers(1, 40)
ratios = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])


@needs_published
@pytest.mark.parametrize("budget", [64, 128, 256, 512, 1024, 2048])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_published_scores_agree_with_the_released_recipe(budget: int, ratio: float) -> None:
    scores = HeadScores.load(PUBLISHED).values
    got = allocate(scores, budget, rho=ratio)
    assert got.dtype == torch.int64
    assert torch.equal(got, released(scores, budget, 32, ratio))


@needs_published
def test_best_published_head_is_given_more_than_a_prompt_holds() -> None:
    assert int(allocate(HeadScores.load(PUBLISHED).per_kv_head(32), 256).max()) == 5337


@given(score_tables(), windows, budgets, ratios)
def test_released_recipe_to_the_integer(scores: np.ndarray, window: int, over: int, ratio: float) -> None:
    if not scores.any():
        scores = np.full_like(scores, 1 / scores.size)
    got = allocate(scores, window + over, window=window, rho=ratio)
    assert torch.equal(got, released(scores, window + over, window, ratio))


@given(score_tables(), windows, budgets, ratios, st.integers(0, 500))
@settings(max_examples=200)
def test_water_filling_meets_the_total_within_bounds(
    scores: np.ndarray, window: int, over: int, ratio: float, prompt: int
) -> None:
    got = allocate_array(scores, window + over, window=window, rho=ratio, prompt_tokens=prompt)
    limit = max(prompt - window, 0)
    assert got.min() >= 0
    assert got.max() <= limit
    assert got.sum() == min(over, limit) * scores.size
    assert got.min() >= min(int(over * ratio), limit)


@given(score_tables(), windows, budgets, ratios, st.one_of(st.none(), st.integers(0, 500)))
def test_a_higher_score_never_gets_less(
    scores: np.ndarray, window: int, over: int, ratio: float, prompt: int | None
) -> None:
    got = allocate_array(scores, window + over, window=window, rho=ratio, prompt_tokens=prompt).ravel()
    order = np.argsort(scores.ravel(), kind="stable")
    different = np.diff(scores.ravel()[order]) > 0
    assert (np.diff(got[order])[different] >= 0).all()


@given(score_tables(), windows, budgets, st.integers(0, 500), st.randoms(use_true_random=False))
def test_permuting_the_heads_permutes_the_allocation(
    scores: np.ndarray, window: int, over: int, prompt: int, random
) -> None:
    order = list(range(scores.size))
    random.shuffle(order)
    moved = scores.ravel()[order].reshape(scores.shape)
    for tokens in (None, prompt):
        before = allocate_array(scores, window + over, window=window, prompt_tokens=tokens).ravel()[order]
        after = allocate_array(moved, window + over, window=window, prompt_tokens=tokens).ravel()
        for value in np.unique(moved):  # heads of equal score may swap the one token that divides them
            same = moved.ravel() == value
            assert sorted(before[same]) == sorted(after[same])


@given(score_tables(), windows, budgets, ratios, st.integers(1, 500))
def test_water_filling_is_the_released_recipe_where_every_head_has_room(
    scores: np.ndarray, window: int, over: int, ratio: float, prompt: int
) -> None:
    plain = allocate_array(scores, window + over, window=window, rho=ratio)
    filled = allocate_array(scores, window + over, window=window, rho=ratio, prompt_tokens=10**7)
    assert np.abs(plain - filled).max() <= 1  # whole tokens that make the sum exact
    assert np.abs(plain - filled).sum() == abs(int(plain.sum()) - over * scores.size)


@given(score_tables(), windows, budgets, ratios, st.one_of(st.none(), st.integers(0, 500)))
def test_equal_scores_get_the_same_but_for_one_token(
    scores: np.ndarray, window: int, over: int, ratio: float, prompt: int | None
) -> None:
    got = allocate_array(scores, window + over, window=window, rho=ratio, prompt_tokens=prompt).ravel()
    for value in np.unique(scores):
        assert np.ptp(got[scores.ravel() == value]) <= (0 if prompt is None else 1)


@given(st.integers(2, 30), st.data(), windows, budgets, ratios, st.integers(0, 500))
def test_one_hot_scores(
    heads: int, data: st.DataObject, window: int, over: int, ratio: float, prompt: int
) -> None:
    """One head gets all beyond the uniform part, up to the prompt's length; the others share the rest."""
    hot = data.draw(st.integers(0, heads - 1))
    scores = np.eye(heads)[[hot]]
    limit, low = max(prompt - window, 0), int(over * ratio)
    got = allocate_array(scores, window + over, window=window, rho=ratio, prompt_tokens=prompt)[0]
    others = np.delete(got, hot)
    assert got[hot] == min(limit, low + (over - low) * heads)
    assert others.sum() == min(over, limit) * heads - got[hot]
    assert np.ptp(others) <= 1


@given(st.integers(1, 5), st.integers(1, 6), windows, budgets, ratios, st.integers(0, 500))
def test_all_zero_scores(layers: int, heads: int, window: int, over: int, ratio: float, prompt: int) -> None:
    got = allocate_array(
        np.zeros((layers, heads)), window + over, window=window, rho=ratio, prompt_tokens=prompt
    )
    assert (got == min(over, max(prompt - window, 0))).all()


def test_surplus_goes_to_the_others_in_proportion() -> None:
    scores = np.array([[0.8, 0.1, 0.06, 0.04]])
    # 4 * 50 tokens, at most 80 a head: 80 for the best, 120 left in proportion 10 : 6 : 4
    got = allocate(scores, 60, window=10, rho=0.0, prompt_tokens=90)
    assert got.tolist() == [[80, 60, 36, 24]]
    # with a uniform part of 5 each: 200 = 80 + 3 * 5 + 105, in proportion: 52.5, 31.5, 21
    got = allocate(scores, 60, window=10, rho=0.1, prompt_tokens=90)
    assert got.tolist() == [[80, 58, 36, 26]]  # whole tokens: the halves tie, the higher score gets it


def test_one_hot_scores_fill_one_head_then_the_others_alike() -> None:
    scores = np.zeros((2, 3))
    scores[1, 2] = 1.0
    assert allocate(scores, 20, window=8, rho=0.0).tolist() == [[0, 0, 0], [0, 0, 72]]
    got = allocate(scores, 20, window=8, rho=0.0, prompt_tokens=30)
    assert got.tolist() == [[10, 10, 10], [10, 10, 22]]


def test_zero_scores_are_shared_alike() -> None:
    assert allocate(np.zeros((3, 2)), 20, window=8).tolist() == [[12, 12]] * 3
    assert allocate(np.zeros((3, 2)), 20, window=8, prompt_tokens=18).tolist() == [[10, 10]] * 3


def test_denormal_scores_do_not_overflow() -> None:
    scores = np.array([[1.0, 5e-324, 0.0, 0.0]])
    assert allocate(scores, 11, window=1, rho=0.0, prompt_tokens=16).tolist() == [[15, 15, 5, 5]]


@pytest.mark.parametrize("kind", [list, np.float32, torch.float32, torch.float64, torch.bfloat16])
def test_takes_lists_arrays_and_tensors(kind) -> None:
    table = np.array([[0.5, 0.25], [0.125, 0.125]])
    if kind is list:
        scores = table.tolist()
    elif kind is np.float32:
        scores = table.astype(np.float32)
    else:
        scores = torch.tensor(table, dtype=kind, requires_grad=True)
    assert torch.equal(allocate(scores, 64), allocate(table, 64))


@pytest.mark.parametrize(
    ("scores", "arguments", "words"),
    [
        ([[0.5, 0.5]], {"budget": 32}, "budget 32 is not above the window"),
        ([[0.5, 0.5]], {"budget": 31}, "not above the window"),
        ([[0.5, 0.5]], {"budget": 64.0}, "whole number"),
        ([[0.5, 0.5]], {"budget": True}, "whole number"),
        ([[0.5, 0.5]], {"budget": 64, "window": 0}, "window is 0"),
        ([[0.5, 0.5]], {"budget": 64, "rho": 1.5}, "rho is 1.5"),
        ([[0.5, 0.5]], {"budget": 64, "rho": float("nan")}, "rho"),
        ([[0.5, 0.5]], {"budget": 64, "prompt_tokens": -1}, "prompt_tokens is -1"),
        ([[0.5, float("nan")]], {"budget": 64}, "NaN"),
        ([[1.5, -0.5]], {"budget": 64}, "negative"),
        ([[0.5, 0.6]], {"budget": 64}, "sum to 1.1"),
        ([0.5, 0.5], {"budget": 64}, "shape"),
        ([[]], {"budget": 64}, "shape"),
        ([[0.5], [0.25, 0.25]], {"budget": 64}, "table of numbers"),
    ],
)
def test_bad_input_is_one_clear_line(scores, arguments, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        allocate(scores, **arguments)
    assert "\n" not in str(caught.value)
