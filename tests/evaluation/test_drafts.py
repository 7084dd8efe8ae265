"""Drafts: where they are looked up, how much of them is verified, and that decoding with them changes no answer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemm.evaluation.engine.decode import Counts
from sparsemm.evaluation.engine.drafts import LOOKUP, REACH, Draft, Text, find_draft
from sparsemm.evaluation.engine.lengths import DraftLengths, PassCost
from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.evaluation.engine.sources import drafting_rows, whole_rows
from sparsemm.models.loading import build_inputs
from sparsemm.policies import AdaKV, FullKV, LocalWindow, Policy, SnapKV, SparseMM

from helpers import tiny
from helpers.stepwise import Stepwise, stepwise
from helpers.tiny_families import FAMILY_NAMES, tiny_family

TOKENS = st.lists(st.integers(0, 3), max_size=30)
COSTS: dict[str, PassCost | None] = {
    "every draft": PassCost(fixed=0, more=0),
    "every draft, full cache first": PassCost(fixed=0, more=0, lead=True),
    "by chance": PassCost(fixed=20, more=1),
    "free tokens": PassCost(fixed=0, more=1, free=60, lead=True),
    "none": None,
}


def text(tokens: list[int]) -> Text:
    made = Text()
    made.extend(tokens)
    return made


@given(TOKENS, st.lists(TOKENS, max_size=3), st.integers(1, 16))
def test_a_draft_follows_the_longest_agreement(
    written: list[int], others: list[list[int]], most: int
) -> None:
    found = find_draft(written, [text(tokens) for tokens in others], most)
    best = 0
    for tokens in others:
        for place in range(len(tokens)):
            if written == tokens[:place] and len(written) < LOOKUP:
                best = max(best, REACH)
            agreeing = 0
            while (
                agreeing < min(place, len(written)) and tokens[place - agreeing - 1] == written[-agreeing - 1]
            ):
                agreeing += 1
            if agreeing >= LOOKUP:
                best = max(best, REACH if agreeing == place == len(written) else min(agreeing, REACH))
    assert found.agreeing == best
    assert bool(found.tokens) == (best > 0)
    assert len(found.tokens) <= most
    if found.tokens:  # they do stand after the row's last tokens in one of the texts
        last = written[-min(best, len(written)) :] if written else []
        wanted = last + found.tokens
        assert any(tokens[at : at + len(wanted)] == wanted for tokens in others for at in range(len(tokens)))


@given(TOKENS, st.integers(0, 29))
def test_a_row_that_agrees_so_far_is_drafted_by_what_follows(tokens: list[int], count: int) -> None:
    found = find_draft(tokens[:count], [text(tokens)], 16)
    if count < len(tokens):
        assert found.tokens == tokens[count : count + 16]


def test_the_nearest_place_is_taken_and_texts_in_order() -> None:
    assert find_draft([9, 1, 2], [text([1, 2, 3, 1, 2, 4])], 1).tokens == [3]
    assert find_draft([9, 9, 9, 9, 1, 2], [text([1, 2, 3, 1, 2, 4])], 1).tokens == [4]
    assert find_draft([9, 1, 2], [text([1, 2, 3]), text([1, 2, 4])], 1).tokens == [3]
    assert find_draft([8, 1, 2], [text([1, 2, 3]), text([7, 8, 1, 2, 4])], 1).tokens == [4]
    assert find_draft([1, 2], [text([1, 2])], 4).tokens == []


def test_where_a_text_ended_nothing_is_drafted() -> None:
    shorter, longer = text([5, 1, 2]), text([1, 2, 3])
    assert find_draft([5, 1, 2], [shorter, longer], 4) == Draft([3], 2)
    shorter.ended = True
    assert find_draft([5, 1, 2], [shorter, longer], 4) == Draft([], REACH)
    assert find_draft([4, 1, 2], [longer, shorter], 4) == Draft([3], 2)


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, REACH)), min_size=1, max_size=12))
def test_lengths_follow_the_cost(offered: list[tuple[int, int]]) -> None:
    drafts = [Draft([0] * count, agreeing) for count, agreeing in offered]
    whole = [count for count, _ in offered]
    assert DraftLengths(PassCost(fixed=0, more=0)).choose(drafts) == whole
    assert DraftLengths(PassCost(fixed=0, more=1)).choose(drafts) == [0] * len(drafts)
    cheap, dear = (DraftLengths(PassCost(fixed, 1)).choose(drafts) for fixed in (50, 5))
    assert all(few <= many <= most for few, many, most in zip(dear, cheap, whole, strict=True))
    free = DraftLengths(PassCost(fixed=0, more=1, free=20)).choose(drafts)
    assert len(drafts) + sum(free) <= max(20, len(drafts))


def test_lengths_learn_what_is_accepted() -> None:
    lengths = DraftLengths(PassCost(fixed=1, more=1))
    draft = Draft([0] * 16, 5)
    before = lengths.choose([draft])
    for _ in range(30):
        lengths.learn(draft, 4, 4)
    assert lengths.choose([draft]) > before
    for _ in range(200):
        lengths.learn(draft, 4, 0)
    assert lengths.choose([draft]) == [0]


def test_who_drafts_whom() -> None:
    policies: list[Policy] = [SnapKV(40), SnapKV(56), AdaKV(48), FullKV(), SnapKV(64)]
    of = np.array([[0], [1], [2], [3], [3]])  # the last keeps the whole prompt
    assert drafting_rows(of, policies) == [[3, 1], [3], [3, 1], []]
    assert whole_rows(of, policies) == [3]
    assert drafting_rows(of[:3], policies[:3]) == [[1], [], [1]]


def cells(kv_heads: int, layers: int) -> list[Policy]:
    shares = np.random.default_rng(0).dirichlet([0.3] * (layers * kv_heads)).reshape(layers, kv_heads)
    made: list[Policy] = [FullKV(window=4), LocalWindow(12)]
    for budget in (8, 20, 48):
        made += [SnapKV(budget, window=4), SparseMM(shares, budget, window=4)]
    return made


SIZES = [(60, 40), (24, 64), (64, 64)]


def both(
    name: str, cost: PassCost | None, new: int = 16, stop: tuple[int, ...] = (), **generation: float
) -> tuple[EngineOutput, Stepwise]:
    """A padded batch of three through the engine and through the reference."""
    model, processor = tiny_family(name)
    text_config = model.config.get_text_config()
    policies = cells(text_config.num_key_value_heads, text_config.num_hidden_layers)
    images = [tiny.image(*size, seed=index) for index, size in enumerate(SIZES)]
    inputs = build_inputs(processor, images, ["aaa", "Read all the lines of this page.", "What is 12?"])
    before = model.generation_config
    model.generation_config = copy.deepcopy(before)
    for key, value in generation.items():
        setattr(model.generation_config, key, value)
    try:
        return (
            run_cells(model, inputs, policies, max_new_tokens=new, stop=stop, cost=cost),
            stepwise(model, inputs, policies, max_new_tokens=new, stop=stop),
        )
    finally:
        model.generation_config = before


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_answers_are_those_of_decoding_token_by_token(name: str) -> None:
    found, expected = both(name, COSTS["every draft"])
    assert found.tokens == expected.tokens
    assert found.counts.row_passes < expected.row_passes
    assert found.counts.fed > found.counts.row_passes


@pytest.mark.parametrize("cost", list(COSTS))
def test_the_choice_of_lengths_changes_no_answer(cost: str) -> None:
    free, expected = both("llava_next-mistral", COSTS[cost])
    assert free.tokens == expected.tokens
    stop = tuple(sorted({answer[place] for cell in free.tokens for answer in cell for place in (5, 9)})[:4])
    cut, expected = both("llava_next-mistral", COSTS[cost], stop=stop)
    assert cut.tokens == expected.tokens
    assert len({len(answer) for cell in cut.tokens for answer in cell}) > 2
    if cost == "none":
        assert cut.counts.row_passes == cut.counts.fed == expected.row_passes


def test_processors_see_what_they_see_step_by_step() -> None:
    for settings_ in ({"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}):
        found, expected = both("qwen2_vl", COSTS["every draft"], **settings_)
        assert found.tokens == expected.tokens
        assert found.counts.fed > found.counts.row_passes


def test_counts_without_drafts_are_those_of_steps() -> None:
    found, expected = both("qwen3_vl", COSTS["none"], new=4)
    assert found.counts == Counts(
        passes=3, row_passes=3 * found.rows, fed=3 * found.rows, written=4 * found.rows
    )
    assert found.tokens == expected.tokens
