"""compress_prefix: the prefix kept and the answers equal the plain reference, for every family and policy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import sparsemm
from sparsemm import FullKV, SnapKV, compress_prefix, make_policy
from sparsemm.errors import InputError
from sparsemm.generation.prefix import GENERIC_INSTRUCTION
from sparsemm.models.loading import build_inputs, shape
from sparsemm.policies import RANKER_NAMES

from helpers import tiny
from helpers.oracle import recorded, state, used
from helpers.prefixes import answer_after, kept_of_prefix
from helpers.tiny_families import FAMILY_NAMES, tiny_family

WINDOW, BUDGET, NEW = 8, 16, 6
QUESTIONS = ("Read it.", "What is in line 3?", "Name?")
SIZES = ((60, 40), (20, 64), (64, 64))


@cache
def asked(family: str, question: str, size: tuple[int, int] = SIZES[0]) -> Any:
    return build_inputs(tiny_family(family)[1], [tiny.image(*size, seed=size[0])], [question])


@cache
def batch(family: str) -> Any:
    images = [tiny.image(*size, seed=size[0]) for size in SIZES]
    return build_inputs(tiny_family(family)[1], images, list(QUESTIONS))


def policy_of(family: str, label: str, budget: int = BUDGET) -> Any:
    sizes = shape(tiny_family(family)[0])
    drawn = np.random.default_rng(3).random((sizes.num_layers, sizes.num_heads)) ** 4
    scores = drawn / drawn.sum()
    return make_policy(label, budget=budget, window=WINDOW, scores=scores, seed=7)


def answers(out: torch.Tensor, inputs: Any) -> list[list[int]]:
    return out[:, inputs["input_ids"].shape[1] :].tolist()


def instruction_of(family: str) -> torch.Tensor:
    tokenizer = tiny_family(family)[1].tokenizer
    text = "\n" + GENERIC_INSTRUCTION
    return tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


@pytest.mark.parametrize("rank_by", ["window", "instruction"])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_answers_equal_the_plain_reference(family: str, rank_by: str) -> None:
    model, processor = tiny_family(family)
    policy = policy_of(family, "sparsemm")
    first = asked(family, QUESTIONS[0])
    instruction = instruction_of(family) if rank_by == "instruction" else None
    wanted = kept_of_prefix(model, first, policy, instruction)
    with (
        recorded() as kept,
        compress_prefix(model, policy, first, rank_by=rank_by, processor=processor) as prefix,
    ):
        assert torch.equal(torch.stack(kept)[..., : wanted.shape[-1]], wanted)
        assert torch.equal(prefix.kept, wanted.sum(-1))
        for question in (*QUESTIONS, QUESTIONS[0]):  # one after the other, and the first once more
            given = asked(family, question)
            (ours,) = answers(prefix.generate(**given, max_new_tokens=NEW, do_sample=False), given)
            assert ours == answer_after(model, given, wanted, NEW)
    assert not wanted.all()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_without_a_limit_answers_equal_the_plain_model(family: str) -> None:
    model, processor = tiny_family(family)
    options = {"max_new_tokens": NEW, "do_sample": False}
    plain = {question: model.generate(**asked(family, question), **options) for question in QUESTIONS}
    for policy, rank_by in ((FullKV(), "window"), (SnapKV(4096, window=WINDOW), "instruction")):
        first = asked(family, QUESTIONS[1])
        model.generate(**asked(family, "Other", SIZES[1]), **options)  # leaves its own M-RoPE offset on Qwen
        with compress_prefix(model, policy, first, rank_by=rank_by, processor=processor) as prefix:
            for question in QUESTIONS:
                assert torch.equal(prefix.generate(**asked(family, question), **options), plain[question])


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_padded_batch_answers_as_its_rows_alone(family: str) -> None:
    model, given = tiny_family(family)[0], batch(family)
    policy = policy_of(family, "adakv")
    with compress_prefix(model, policy, given) as prefix:
        out = prefix.generate(**given, max_new_tokens=NEW, do_sample=False)
        ours, kept = answers(out, given), prefix.kept
    assert torch.equal(out[:, : given["input_ids"].shape[1]], given["input_ids"])
    for row, (question, size) in enumerate(zip(QUESTIONS, SIZES)):
        alone = asked(family, question, size)
        wanted = kept_of_prefix(model, alone, policy)
        assert torch.equal(kept[:, row], wanted.sum(-1)[:, 0])
        assert ours[row] == answer_after(model, alone, wanted, NEW)


@pytest.mark.parametrize("family", ["llava_next-mistral", "qwen2_vl"])
def test_one_prefix_answers_a_batch_of_questions_and_several_sequences(family: str) -> None:
    model, processor = tiny_family(family)
    policy = policy_of(family, "snapkv")
    together = build_inputs(processor, [tiny.image(*SIZES[0], seed=SIZES[0][0])] * 3, list(QUESTIONS))
    texts = {name: together[name] for name in ("input_ids", "attention_mask")}  # no pixels
    with compress_prefix(model, policy, asked(family, QUESTIONS[0])) as prefix:
        options = {"max_new_tokens": NEW, "do_sample": False}
        alone = [prefix.generate(**asked(family, question), **options) for question in QUESTIONS]
        ours = prefix.generate(**texts, **options, num_return_sequences=2, return_dict_in_generate=True)
    for row, (question, one) in enumerate(zip(QUESTIONS, alone)):
        for copy in (2 * row, 2 * row + 1):
            assert answers(ours.sequences, together)[copy] == answers(one, asked(family, question))[0]


@pytest.mark.parametrize("rank_by", ["window", "instruction"])
@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_every_ranker_keeps_of_the_prefix_what_it_keeps_of_a_prompt(ranker: str, rank_by: str) -> None:
    family = "qwen2_vl"
    model, processor = tiny_family(family)
    instruction = instruction_of(family) if rank_by == "instruction" else None
    given = asked(family, QUESTIONS[1])
    for allocator in ("snapkv", "adakv", "duo_heads"):
        policy = policy_of(family, f"{allocator}@{ranker}")
        wanted = kept_of_prefix(model, given, policy, instruction)
        with compress_prefix(model, policy, given, rank_by=rank_by, processor=processor) as prefix:
            if ranker != "key_norm":  # equal norms at several places
                assert torch.equal(prefix.kept, wanted.sum(-1))
            if allocator == "snapkv":
                (ours,) = answers(prefix.generate(**given, max_new_tokens=3, do_sample=False), given)
                assert ranker == "key_norm" or ours == answer_after(model, given, wanted, 3)


def test_the_question_does_not_matter_and_the_budget_is_met() -> None:
    model, processor = tiny_family("llava_next-mistral")
    policy = policy_of("llava_next-mistral", "snapkv")
    for rank_by in ("window", "instruction"):
        sets = []
        for question in QUESTIONS:
            given = asked("llava_next-mistral", question)
            with (
                recorded() as kept,
                compress_prefix(model, policy, given, rank_by=rank_by, processor=processor) as run,
            ):
                assert int(run.kept.min()) == int(run.kept.max()) == BUDGET
                assert run.cache_bytes == run.kept.sum() * 2 * shape(model).head_dim * 4
            sets.append(torch.stack(kept))
        assert all(torch.equal(sets[0], other) for other in sets)


def test_the_stored_prefix_is_shared_until_a_question_is_asked() -> None:
    model = tiny.model("gqa")
    given = asked("llava_next-mistral", QUESTIONS[0])
    with compress_prefix(model, SnapKV(BUDGET, window=WINDOW), given) as prefix:
        mine, other = prefix.cache(), prefix.cache()
        stores = [layer.store for layer in mine.ragged]
        assert all(a is b.store for a, b in zip(stores, other.ragged))
        mine.grow(5)
        assert all(a is not b.store for a, b in zip(stores, mine.ragged))
        assert all(a is b.store for a, b in zip(stores, other.ragged))


@pytest.mark.parametrize("storage", ["torch", "int8"])
def test_storages(storage: str) -> None:
    model, given = tiny.model("gqa"), asked("llava_next-mistral", QUESTIONS[0])
    with compress_prefix(model, SnapKV(BUDGET, window=WINDOW), given, storage=storage) as prefix:
        twice = [prefix.generate(**given, max_new_tokens=NEW, do_sample=False) for _ in range(2)]
    assert torch.equal(*twice)


def test_the_model_is_restored_and_nothing_is_used_afterwards() -> None:
    model, given = used("gqa"), asked("llava_next-mistral", QUESTIONS[0])
    before = state(model)
    with sparsemm.compress_prefix(model, SnapKV(BUDGET, window=WINDOW), given) as prefix:
        turn = prefix.generate(**given, max_new_tokens=2, return_dict_in_generate=True)
        with pytest.raises(InputError, match="past_key_values is a RaggedCache from outside"):
            model.generate(turn.sequences, past_key_values=turn.past_key_values, max_new_tokens=1)
    assert state(model) == before
    with pytest.raises(InputError):
        prefix.generate(**given, max_new_tokens=1)
    assert state(model) == before
