"""The set of tokens every method keeps, from queries and keys to positions, against the paper in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm import (
    AdaKV,
    FullKV,
    HeadScores,
    LocalWindow,
    PyramidKV,
    RandomHeads,
    SnapKV,
    SparseMM,
    make_policy,
    pooled_attention,
    select,
)
from sparsemm.budget.allocation import random_scores
from sparsemm.policies import POLICY_NAMES, DuoHeads, VisualAda

from helpers import naive

DIM = 4
METHODS = ("snapkv", "pyramidkv", "adakv", "sparsemm", "random_heads")


def attention_rows(query, key, window):
    """[Hq][w][T] softmax rows of the last queries of one prompt, number by number."""
    heads, total, _ = query.shape
    group = heads // key.shape[0]
    rows = []
    for head in range(heads):
        rows.append([])
        for at in range(max(total - window, 0), total):
            logits = [float(query[head, at] @ key[head // group, i]) / math.sqrt(DIM) for i in range(at + 1)]
            weights = [math.exp(x - max(logits)) for x in logits]
            rows[-1].append([w / sum(weights) for w in weights] + [0.0] * (total - at - 1))
    return rows


def scores_of(layers, heads, kind="random"):
    values = np.random.default_rng(4).random((layers, heads)) ** 4
    if kind == "one-hot":
        values = np.zeros((layers, heads))
        values[-1, 0] = 1.0
    elif kind == "equal":
        values = np.ones((layers, heads))
    return values / values.sum()


def naive_kept(method, scores, pooled, budget, window, layer, layers, tokens):
    """One prompt's kept positions, [Hkv][T]."""
    if method == "sparsemm":
        counts = naive.allocated(scores.tolist(), pooled, budget, window, layer)
    elif method == "random_heads":
        drawn = np.random.default_rng(7).random((layers, len(pooled)))
        counts = naive.allocated((drawn / drawn.sum()).tolist(), pooled, budget, window, layer)
    else:
        counts = getattr(naive, method)(pooled, budget, window, layer, layers)
    return naive.kept(pooled, counts, tokens)


def check(method, prompts, budget, window, layers, scores):
    """Every row of a left-padded batch keeps what the definition says; a prompt is query and key [heads, T, D]."""
    policy = make_policy(method, budget=budget, window=window, scores=HeadScores(values=scores), seed=7)
    longest = max(query.shape[1] for query, _ in prompts)
    query, key = (
        torch.stack([torch.cat([torch.full((len(x), longest - x.shape[1], DIM), 9.0), x], 1) for x in side])
        for side in zip(*prompts, strict=True)
    )
    lengths = torch.tensor([q.shape[1] for q, _ in prompts])
    valid = torch.arange(longest) >= (longest - lengths)[:, None]
    valid = None if bool(valid.all()) else valid
    pooled = pooled_attention(query, key, window=window, valid=valid)
    references = [naive.pooled(attention_rows(q, k, window), len(k), window) for q, k in prompts]
    for layer in range(layers):
        keep = policy.keep(pooled, layer=layer, num_layers=layers)
        got = select(pooled, keep, window=window, valid=valid, tokens=longest)
        for row, (values, length) in enumerate(zip(references, lengths.tolist(), strict=True)):
            want = naive_kept(method, scores, values, budget, window, layer, layers, length)
            assert got[row, :, longest - length :].tolist() == want
            assert not got[row, :, : longest - length].any()


def prompt(tokens, heads, kv_heads, seed=0, kind="random"):
    generator = torch.Generator().manual_seed(seed * 100 + tokens)
    query = torch.randn(heads, tokens, DIM, generator=generator)
    key = torch.randn(kv_heads, tokens, DIM, generator=generator)
    if kind == "uniform":  # every key gets the same attention: all values before the window tie
        query = torch.zeros_like(query)
    elif kind == "one key":  # the others' weights underflow to exact zeros, in float32 and float64
        query, key = torch.full_like(query, 40.0), torch.full_like(key, -40.0)
        key[:, tokens // 2] = 40.0
    return query, key


# tokens, budget, window
LENGTHS = {
    "one token": (1, 8, 4),
    "shorter than the window": (3, 8, 4),
    "the window alone": (4, 8, 4),
    "one beyond the window": (5, 8, 4),
    "shorter than the budget": (9, 12, 4),
    "budget less one": (11, 12, 4),
    "the budget": (12, 12, 4),
    "budget and one": (13, 12, 4),
    "budget is window and one": (14, 5, 4),
    "window of one": (9, 2, 1),
    "pyramid above the prompt": (20, 14, 4),
    "pyramid below the prompt": (34, 10, 4),
}
HEADS = {"mha": (3, 3), "gqa": (6, 2), "one kv head": (4, 1), "one head": (1, 1)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS.values(), ids=HEADS)
@pytest.mark.parametrize(("tokens", "budget", "window"), LENGTHS.values(), ids=LENGTHS)
def test_edges(method, layers, heads, kv_heads, tokens, budget, window):
    scores = scores_of(layers, heads)
    check(method, [prompt(tokens, heads, kv_heads)], budget, window, layers, scores)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS.values(), ids=HEADS)
def test_edges_in_one_padded_batch(method, heads, kv_heads):
    """Prompts of all the edge lengths together: each is compressed as if it were alone."""
    prompts = [prompt(tokens, heads, kv_heads) for tokens in (1, 3, 4, 5, 9, 11, 12, 13, 20, 34)]
    for budget in (5, 12):
        check(method, prompts, budget, 4, 3, scores_of(3, heads))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["uniform", "one key"])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS.values(), ids=HEADS)
def test_ties_go_by_head_and_position(method, kind, heads, kv_heads):
    prompts = [prompt(tokens, heads, kv_heads, kind=kind) for tokens in (21, 13, 6)]
    for budget in (5, 9, 14):
        check(method, prompts, budget, 4, 2, scores_of(2, heads))


@pytest.mark.parametrize("kind", ["one-hot", "equal"])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS.values(), ids=HEADS)
def test_extreme_scores(kind, heads, kv_heads):
    for budget in (5, 9, 14):
        check(
            "sparsemm", [prompt(21, heads, kv_heads), prompt(9, heads, kv_heads)], budget, 4, 2,
            scores_of(2, heads, kind),
        )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@given(
    lengths=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    window=st.integers(1, 6),
    beyond=st.integers(1, 20),
    shape=st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    layers=st.integers(1, 4),
    seed=st.integers(0, 50),
)
@settings(max_examples=15, deadline=None)
def test_any_prompt(method, lengths, window, beyond, shape, layers, seed):
    prompts = [prompt(tokens, *shape, seed=seed) for tokens in lengths]
    check(method, prompts, window + beyond, window, layers, scores_of(layers, shape[0]))


# Each policy made with nothing but what it needs, and its definition with the paper's settings.
DEFAULTS = {
    "fullkv": (lambda scores: FullKV(), lambda pooled, scores, layer: [len(pooled[0])] * len(pooled)),
    "snapkv": (
        lambda scores: SnapKV(48),
        lambda pooled, scores, layer: naive.snapkv(pooled, 48, 32, layer, 2),
    ),
    "pyramidkv": (
        lambda scores: PyramidKV(54),
        lambda pooled, scores, layer: naive.pyramidkv(pooled, 54, 32, layer, 2, beta=20),
    ),
    "adakv": (
        lambda scores: AdaKV(48),
        lambda pooled, scores, layer: naive.adakv(pooled, 48, 32, layer, 2, floor=0.2),
    ),
    "sparsemm": (
        lambda scores: SparseMM(scores, 64),
        lambda pooled, scores, layer: naive.allocated(scores, pooled, 64, 32, layer, rho=0.1),
    ),
    "visual_ada": (
        lambda scores: VisualAda(scores, 64),
        lambda pooled, scores, layer: naive.visual_ada(scores, pooled, 64, 32, layer, 2, prior=0.5),
    ),
    "duo_heads": (
        lambda scores: DuoHeads(scores, 48),
        lambda pooled, scores, layer: naive.duo_heads(scores, pooled, 48, 32, layer, sinks=4),
    ),
    "random_heads": (
        lambda scores: RandomHeads(48, 7),
        lambda pooled, scores, layer: naive.allocated(random_scores(2, 2, 7), pooled, 48, 32, layer, rho=0.1),
    ),
    "local_window": (lambda scores: LocalWindow(32), lambda pooled, scores, layer: [0] * len(pooled)),
}


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_a_policy_without_settings_keeps_what_its_definition_says(name):
    """Window 32, kernel 5 and each method's own settings, from queries and keys to kept positions."""
    make, counts = DEFAULTS[name]
    scores, tokens = scores_of(2, 4), 80
    policy = make(scores)
    query, key = prompt(tokens, 4, 2)
    values = naive.pooled(attention_rows(query, key, 32), 2, 32, kernel=5)
    pooled = pooled_attention(query[None], key[None], window=policy.window, kernel=policy.kernel)
    for layer in range(2):
        keep = policy.keep(pooled, layer=layer, num_layers=2)
        got = select(pooled, keep, window=policy.window, tokens=tokens)[0]
        assert got.tolist() == naive.kept(values, counts(values, scores.tolist(), layer), tokens)
