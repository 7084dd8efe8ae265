"""Family x ranker x allocator x (one prompt, a left-padded batch of three): what is kept equals the definitions.

The definitions are plain loops (naive.py, naive_rankers.py) over the attentions, keys and values of the eager model.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sparsemm import make_policy
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.errors import InputError
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.generation.chunking import chunked
from sparsemm.generation.compress import compress
from sparsemm.generation.prefill import PrefillLayer, capture_prefill, prefill
from sparsemm.generation.selector import token_selector
from sparsemm.models.loading import build_inputs, shape
from sparsemm.models.patching import attention_implementation
from sparsemm.policies import RANKER_NAMES, SnapKV
from sparsemm.policies.rankers import ImageAware

from helpers import naive, naive_rankers, tiny
from helpers.oracle import recorded, state, used
from helpers.tiny_families import tiny_family

WINDOW, BUDGET, SEED = 8, 24, 7
FAMILIES = ("llava_next-llama", "llava_next-mistral", "qwen2_vl")  # MHA, GQA, M-RoPE
ALLOCATORS = (
    "snapkv",
    "pyramidkv",
    "adakv",
    "sparsemm",
    "sparsemm[waterfill=true]",
    "random_heads",
    "visual_ada",
    "duo_heads",
    "local_window",
)
PROMPTS = {(60, 40): "Read it.", (20, 64): "What is in line 3?", (64, 64): "Name?"}  # by image size
SUMS = {"window_attention", "last_query", "accumulated_attention", "value_attention", "image_aware"}


@cache
def inputs(family: str, rows: str) -> Any:
    sizes = list(PROMPTS) if rows == "padded" else list(PROMPTS)[:1]
    images = [tiny.image(*size, seed=size[0]) for size in sizes]
    return build_inputs(tiny_family(family)[1], images, [PROMPTS[size] for size in sizes])


@cache
def scores(family: str) -> np.ndarray:
    sizes = shape(tiny_family(family)[0])
    drawn = np.random.default_rng(3).random((sizes.num_layers, sizes.num_heads)) ** 4
    return drawn / drawn.sum()


def policy_of(family: str, allocator: str, ranker: str) -> Any:
    label = f"{allocator}@{ranker}"
    return make_policy(label, budget=BUDGET, window=WINDOW, scores=scores(family), seed=SEED)


@cache
def captured(family: str, rows: str) -> list[PrefillLayer]:
    layers: list[PrefillLayer] = []
    capture_prefill(tiny_family(family)[0], inputs(family, rows), layers.append)
    return layers


@cache
def prompts(family: str, rows: str) -> list[list[naive_rankers.Prompt]]:
    """[L][B] what the eager model attends to, and its keys and values, pads cut off."""
    model, given = tiny_family(family)[0], inputs(family, rows)
    with attention_implementation(model, "eager"), torch.no_grad():
        out = model.generate(**given, max_new_tokens=1, return_dict_in_generate=True, output_attentions=True)
    image = given["input_ids"] == shape(model).image_token_id
    result = []
    for weights, held in zip(out.attentions[0], out.past_key_values.layers, strict=True):
        result.append([])
        for row, real in enumerate(given["attention_mask"].bool()):
            attention = weights[row][:, real][:, :, real].tolist()
            sides = (side[row][:, real].tolist() for side in (held.keys, held.values))
            result[-1].append(naive_rankers.Prompt(attention, *sides, image[row, real].tolist()))
    return result


@cache
def values(family: str, rows: str, ranker: str) -> list[list[Any]]:
    """[L][B][Hkv][P] by definition."""

    def random_tokens(prompt: naive_rankers.Prompt, window: int) -> Any:
        generator = torch.Generator().manual_seed(SEED)
        total = len(prompt.image)
        drawn = torch.rand(total, len(prompt.key), generator=generator).flip(0).T
        return drawn[:, : total - window].tolist()

    rank = random_tokens if ranker == "random_tokens" else getattr(naive_rankers, ranker)
    return [[rank(prompt, WINDOW) for prompt in batch] for batch in prompts(family, rows)]


def counts(family: str, allocator: str, ranker: str, ranked: Any, layer: int) -> list[int]:
    """Tokens that each head keeps beyond the window by definition."""
    table, past, heads = scores(family).tolist(), len(ranked[0]), len(ranked)
    layers, weigh = len(table), ranker in SUMS
    if allocator == "local_window":
        return [max(BUDGET - WINDOW, 0)] * heads  # as if they were the newest tokens, see `expected`
    if allocator == "sparsemm":
        return naive.allocated(table, ranked, BUDGET, WINDOW, layer)
    if allocator == "random_heads":
        drawn = np.random.default_rng(SEED).random((layers, heads))
        return naive.allocated((drawn / drawn.sum()).tolist(), ranked, BUDGET, WINDOW, layer)
    if allocator == "sparsemm[waterfill=true]":
        from sparsemm.budget.allocation import allocate_array, group_scores  # tested in tests/budget

        grouped = group_scores(np.array(table), heads)
        return allocate_array(grouped, BUDGET, window=WINDOW, prompt_tokens=past + WINDOW)[layer].tolist()
    if allocator == "adakv":
        return naive.adakv(ranked, BUDGET, WINDOW, layer, layers, weigh=weigh)
    if allocator == "visual_ada":
        return naive.visual_ada(table, ranked, BUDGET, WINDOW, layer, layers, weigh=weigh)
    if allocator == "duo_heads":
        return naive.duo_heads(table, ranked, BUDGET, WINDOW, layer)
    return getattr(naive, allocator)(ranked, BUDGET, WINDOW, layer, layers)


def expected(family: str, allocator: str, ranker: str, rows: str) -> list[torch.Tensor]:
    """What the definitions keep, L x bool [B, Hkv, T]."""
    mask = inputs(family, rows)["attention_mask"].bool()
    result = []
    for layer, batch in enumerate(values(family, rows, ranker)):
        kept = torch.zeros(len(mask), len(batch[0]), mask.shape[1], dtype=torch.bool)
        for row, ranked in enumerate(batch):
            own = ranked
            if allocator == "local_window":
                own = [list(map(float, range(len(head)))) for head in ranked]
            amounts = counts(family, allocator, ranker, own, layer)
            kept[row][:, mask[row]] = torch.tensor(naive.kept(own, amounts, int(mask[row].sum())))
        result.append(kept)
    return result


def assert_kept(
    family: str, ranker: str, rows: str, mine: list[torch.Tensor], theirs: list[torch.Tensor]
) -> None:
    """The same tokens; for key_norm others of the same norm may stand in: a word's key has one norm at every place."""
    for layer, (ours, wanted) in enumerate(zip(mine, theirs, strict=True)):
        if ranker != "key_norm":
            assert torch.equal(ours, wanted)
            continue
        mask = inputs(family, rows)["attention_mask"].bool()
        assert torch.equal(ours.sum(-1), wanted.sum(-1))
        for row, ranked in enumerate(values(family, rows, ranker)[layer]):
            for head, norms in enumerate(ranked):
                own = [side[row, head, mask[row]][: len(norms)].numpy() for side in (ours, wanted)]
                kept = [np.sort(np.array(norms)[each]) for each in own]
                np.testing.assert_allclose(*kept, rtol=1e-5)


def selected(policy: Any, layers: list[PrefillLayer]) -> list[torch.Tensor]:
    found = []
    for seen in layers:
        select_tokens = token_selector(policy, seen.index, len(layers), seen.images)
        found.append(select_tokens(seen.query, seen.key, seen.value, seen.valid, seen.scaling))
    return found


@pytest.mark.parametrize("rows", ["one", "padded"])
@pytest.mark.parametrize("ranker", RANKER_NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_kept_sets_are_those_of_the_definitions(family: str, ranker: str, rows: str) -> None:
    for allocator in ALLOCATORS:
        found = selected(policy_of(family, allocator, ranker), captured(family, rows))
        wanted = expected(family, allocator, ranker, rows)
        assert_kept(family, ranker, rows, found, wanted)
        assert not all(kept.all() for kept in wanted)


def test_rankers_keep_different_tokens() -> None:
    for family in FAMILIES:
        kept = [expected(family, "snapkv", ranker, "one") for ranker in RANKER_NAMES]
        assert len({torch.stack(each).numpy().tobytes() for each in kept}) == len(RANKER_NAMES)


@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_compress_keeps_what_the_definitions_keep(ranker: str) -> None:
    family = "qwen2_vl"
    model, given = tiny_family(family)[0], inputs(family, "padded")
    with recorded() as kept, compress(model, policy_of(family, "adakv", ranker)) as run:
        model.generate(**given, max_new_tokens=3)
    wanted = expected(family, "adakv", ranker, "padded")
    assert_kept(family, ranker, "padded", kept, wanted)
    assert torch.equal(run.kept, torch.stack(wanted).sum(-1))


def test_the_hook_that_finds_image_tokens_is_undone() -> None:
    model = used("gqa")
    before = state(model)
    with compress(model, SnapKV(24, window=WINDOW, ranker=ImageAware())):
        model.generate(**tiny.inputs(), max_new_tokens=2)
        assert state(model) != before
    assert state(model) == before


def test_several_sequences_of_a_prompt_know_their_image_tokens() -> None:
    model, given = tiny_family("qwen2_vl")[0], inputs("qwen2_vl", "padded")
    with recorded() as kept, compress(model, policy_of("qwen2_vl", "snapkv", "image_aware")):
        model.generate(**given, max_new_tokens=2, num_return_sequences=2, do_sample=True)
    wanted = expected("qwen2_vl", "snapkv", "image_aware", "padded")
    assert all(torch.equal(a, b.repeat_interleave(2, 0)) for a, b in zip(kept, wanted, strict=True))


def test_embeddings_do_not_tell_the_image_tokens() -> None:
    model = tiny.model("gqa")
    embedded = model.get_input_embeddings()(tiny.inputs()["input_ids"])
    policy = SnapKV(24, window=WINDOW, ranker=ImageAware())
    with compress(model, policy), pytest.raises(InputError, match="give input_ids"):
        model.generate(inputs_embeds=embedded, max_new_tokens=1)
    layer = PrefillLayer(0, *[torch.ones(1, 1, 9, 2)] * 3, None, 1.0)
    with pytest.raises(InputError, match="needs the image tokens"):
        selected(policy, [layer])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_answers_every_pair_as_a_separate_run(family: str) -> None:
    model, given = tiny_family(family)[0], inputs(family, "padded")
    pairs = [("snapkv", ranker) for ranker in RANKER_NAMES] + [
        ("adakv", "key_norm"),
        ("duo_heads", "streaming"),
    ]
    policies = [policy_of(family, *pair) for pair in pairs]
    out = run_cells(model, given, policies, max_new_tokens=3, stop=())
    for cell, (pair, policy) in enumerate(zip(pairs, policies, strict=True)):
        wanted = torch.stack(expected(family, *pair, "padded")).sum(-1)  # [L, B, Hkv]
        assert torch.equal(out.kept[cell], wanted.transpose(0, 1))
        if pair[1] in ("image_aware", "value_attention", "key_diff") or pair[0] != "snapkv":
            with compress(model, policy):
                answers = model.generate(**given, max_new_tokens=3, do_sample=False)
            assert out.tokens[cell] == answers[:, given["input_ids"].shape[1] :].tolist(), pair
    assert out.rows == len(policies) * len(PROMPTS)


def test_a_chunked_prefill_and_a_packed_one_rank_alike() -> None:
    model, given = tiny_family("qwen2_vl")[0], inputs("qwen2_vl", "one")
    layers: list[PrefillLayer] = []
    with chunked(model, tokens=16):
        capture_prefill(model, given, layers.append)
    for ranker in RANKER_NAMES:
        policy = policy_of("qwen2_vl", "snapkv", ranker)
        wanted = expected("qwen2_vl", "snapkv", ranker, "one")
        assert_kept("qwen2_vl", ranker, "one", selected(policy, layers), wanted)
        with recorded() as kept, ragged_attention_in(model):
            prefill(model, given, policy, 1)
        assert_kept("qwen2_vl", ranker, "one", kept, wanted)
