"""Ranking in the model's dtype: the authors' casts, written out, and how policies and the engine pass it on."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from sparsemm import HeadScores, pooled_attention, select
from sparsemm.errors import InputError
from sparsemm.evaluation.cells import describe, make_cells
from sparsemm.evaluation.engine.held import hold_layer
from sparsemm.evaluation.engine.rows import plan_rows
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.generation.compress import compress
from sparsemm.generation.prefill import PrefillLayer, capture_prefill
from sparsemm.generation.selector import token_selector
from sparsemm.policies import AdaKV, FullKV, LocalWindow, SnapKV, SparseMM, make_policy
from sparsemm.policies.base import ranker_of
from sparsemm.policies.rankers import WindowAttention
from sparsemm.policies.selection import rank_positions

from helpers import tiny

HALVES = [torch.bfloat16, torch.float16]
WINDOW = 8


def tensors(heads: int, kv_heads: int, total: int, dtype: torch.dtype, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    sizes = (1, heads, total, 16), (1, kv_heads, total, 16)
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


def mean(values: torch.Tensor) -> torch.Tensor:
    """Over the last but one axis, rounded to the dtype once, as on a GPU."""
    return values.float().mean(dim=-2).to(values.dtype)


def authors(query: torch.Tensor, key: torch.Tensor, window: int = WINDOW, kernel: int = 5) -> torch.Tensor:
    """The released ranking of one prompt: repeated keys, logits and all means in the dtype, softmax in float32."""
    heads, kv_heads, total = query.shape[1], key.shape[1], key.shape[2]
    repeated = key.repeat_interleave(heads // kv_heads, dim=1)
    logits = query[:, :, -window:] @ repeated.mT / math.sqrt(query.shape[-1])
    later = torch.ones(window, window, dtype=torch.bool).triu(1)
    logits[..., -window:] += torch.zeros_like(later, dtype=logits.dtype).masked_fill(
        later, torch.finfo(logits.dtype).min
    )
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    grouped = mean(weights[..., :-window]).view(1, kv_heads, -1, total - window)
    return functional.avg_pool1d(mean(grouped), kernel, stride=1, padding=kernel // 2)


def authors_adakv(pooled: torch.Tensor, base: int, floor: float) -> list[int]:
    """AdaKV's counts for pooled [Hkv, P] in half precision; equal values go to the first head."""
    ranked = pooled.sort(dim=-1, descending=True).values
    ratio = ranked[:, :base].float().sum(-1, keepdim=True).to(pooled.dtype)
    ratio = ratio / ranked.float().sum(-1, keepdim=True).to(pooled.dtype)
    entries = [(-float(v), head) for head, row in enumerate(ranked * ratio) for v in row]
    heads = [head for _, head in sorted(entries)[: base * len(pooled)]]
    return [round(heads.count(head) * (1 - floor) + int(base * floor)) for head in range(len(pooled))]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("heads", "kv_heads", "total"), [(3, 3, 40), (6, 2, 90), (4, 1, 9)])
def test_half_precision_equals_the_authors_casts(
    dtype: torch.dtype, heads: int, kv_heads: int, total: int
) -> None:
    query, key = tensors(heads, kv_heads, total, dtype)
    got = pooled_attention(query, key, window=WINDOW, dtype=dtype)
    assert got.dtype == dtype
    assert torch.equal(got, authors(query, key))


def test_half_precision_ties_and_float32_does_not() -> None:
    query, key = tensors(4, 2, 300, torch.bfloat16)
    half, whole = (pooled_attention(query, key, window=WINDOW, dtype=d) for d in (torch.bfloat16, None))
    assert len(half[0, 0].unique()) < 0.5 * len(whole[0, 0].unique())
    assert not torch.equal(rank_positions(half), rank_positions(whole))
    ranks = rank_positions(half)[0, 0].tolist()
    order = sorted(range(len(ranks)), key=lambda at: (-float(half[0, 0, at]), at))  # ties go by position
    assert [ranks[at] for at in order] == list(range(len(ranks)))
    keep = torch.tensor([[50, 120]])
    assert torch.equal(
        select(half, keep, window=WINDOW)[..., :-WINDOW], rank_positions(half) < keep[..., None]
    )


def test_float32_is_the_default_to_the_bit() -> None:
    query, key = tensors(6, 2, 90, torch.float32)
    usual = pooled_attention(query, key, window=WINDOW)
    assert torch.equal(usual, pooled_attention(query, key, window=WINDOW, dtype=torch.float32))
    ranker = WindowAttention(WINDOW, 5, "model")
    assert torch.equal(usual, ranker.rank(query, key, key, scaling=16**-0.5))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_padded_row_ranks_like_the_unpadded_one(dtype: torch.dtype) -> None:
    lengths = [40, 23, 11, 5]
    total = max(lengths)
    rows = [tensors(4, 2, total, dtype, seed) for seed in range(len(lengths))]
    query, key = (torch.cat(side) for side in zip(*rows))
    valid = torch.arange(total) >= total - torch.tensor(lengths)[:, None]
    got = pooled_attention(query, key, window=WINDOW, valid=valid, dtype=dtype)
    assert torch.equal(got == float("-inf"), ~valid[:, None, : got.shape[-1]].expand_as(got))
    for row, length in enumerate(lengths):
        alone = pooled_attention(
            query[row : row + 1, :, -length:], key[row : row + 1, :, -length:], window=WINDOW, dtype=dtype
        )
        assert alone.dtype == dtype
        assert torch.equal(got[row, :, got.shape[-1] - alone.shape[-1] :], alone[0])


@pytest.mark.parametrize("dtype", HALVES)
def test_adakv_weighs_in_the_dtype_of_the_ranking(dtype: torch.dtype) -> None:
    differs = 0
    for seed in range(8):
        query, key = tensors(8, 4, 200, dtype, seed)
        pooled = pooled_attention(query, key, window=WINDOW, dtype=dtype)
        policy = AdaKV(40, window=WINDOW, ranking="model")
        keep = policy.keep(pooled, layer=0, num_layers=1)
        assert keep.tolist() == [authors_adakv(pooled[0], 32, 0.2)]
        differs += not torch.equal(keep, policy.keep(pooled.float(), layer=0, num_layers=1))
    assert dtype == torch.float16 or differs
    nothing = torch.zeros(1, 2, 9, dtype=dtype)
    assert AdaKV(12, window=WINDOW, floor=0.5).keep(nothing, layer=0, num_layers=1).sum() == 8


def prefilled(dtype: torch.dtype) -> tuple[Any, Any, list[PrefillLayer]]:
    """The tiny GQA model in this dtype, a padded batch, and what each layer's attention gets."""
    model = copy.deepcopy(tiny.model("gqa")).to(dtype)
    inputs = tiny.inputs(tiny.UNEQUAL)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    layers: list[PrefillLayer] = []
    capture_prefill(model, inputs, layers.append)
    return model, inputs, layers


def test_selectors_and_engine_rank_as_the_policy_says() -> None:
    scores = HeadScores(
        torch.rand(tiny.LAYERS, tiny.HEADS, generator=torch.Generator().manual_seed(1)).numpy()
    )
    _, _, layers = prefilled(torch.bfloat16)
    differ = 0
    for layer in layers:
        given = layer.query, layer.key, layer.value, layer.valid, layer.scaling
        policies = [SnapKV(24, window=WINDOW), AdaKV(20, window=WINDOW), SparseMM(scores, 20, window=WINDOW)]
        released = [
            SnapKV(24, window=WINDOW, ranking="model"),
            AdaKV(20, window=WINDOW, ranking="model"),
            SparseMM(scores, 20, window=WINDOW, ranking="model"),
        ]
        held = hold_layer(layer, [*policies, *released, FullKV(), LocalWindow(12)], tiny.LAYERS)
        assert set(held.ranks) == {WindowAttention(WINDOW), WindowAttention(WINDOW, 5, "model")}
        half = pooled_attention(
            layer.query,
            layer.key,
            window=WINDOW,
            scaling=layer.scaling,
            valid=layer.valid,
            dtype=torch.bfloat16,
        )
        ranks = held.ranks[WindowAttention(WINDOW, 5, "model")]
        assert torch.equal(ranks, rank_positions(half).int())
        for at, policy in enumerate(released, start=len(policies)):
            keep = policy.keep(half, layer=layer.index, num_layers=tiny.LAYERS)
            assert torch.equal(held.keep[at], keep)
            kept = token_selector(policy, layer.index, tiny.LAYERS)(*given)
            assert torch.equal(kept, select(half, keep, window=WINDOW, valid=layer.valid))
            usual = token_selector(policies[at - len(policies)], layer.index, tiny.LAYERS)(*given)
            differ += not torch.equal(kept, usual)
    assert differ, "ties must decide somewhere in bfloat16"


def test_on_a_float32_model_both_rankings_give_the_same_answers() -> None:
    model, inputs, _ = prefilled(torch.float32)
    policies = [SnapKV(16, window=WINDOW, ranking=ranking) for ranking in ("float32", "model")]
    tokens = []
    for policy in policies:
        with compress(model, policy):
            tokens.append(model.generate(**inputs, max_new_tokens=6, do_sample=False))
    assert torch.equal(*tokens)
    cells = run_cells(model, inputs, policies, max_new_tokens=6, stop=[]).tokens
    assert cells[0] == cells[1] == tokens[0][:, inputs["input_ids"].shape[1] :].tolist()


def test_rows_of_other_rankings_are_not_shared() -> None:
    policies = [SnapKV(16, window=WINDOW), SnapKV(16, window=WINDOW, ranking="model")]
    keep = torch.full((2, 1, 3, 2), 8)
    assert plan_rows(keep, [40], policies, 1.0).of.tolist() == [[0], [1]]
    assert plan_rows(keep + 40, [40], policies, 1.0).of.tolist() == [[0], [0]]  # the whole prompt


def test_the_setting_reaches_every_policy_that_ranks() -> None:
    scores = HeadScores(torch.ones(3, 6).numpy())
    labels = ["fullkv", "snapkv", "pyramidkv", "adakv", "sparsemm[rho=0.3]", "random_heads", "local_window"]
    cells = make_cells([(label, 20) for label in labels], scores=scores, window=WINDOW, ranking="model")
    found = [ranker_of(cell.policy).precision for cell in cells]
    assert found == ["float32", *["model"] * 5, "float32"]
    assert "'ranking', 'model'" in describe(cells[1].policy)
    with pytest.raises(InputError, match="snapkv: ranking is 'half': use float32 or model"):
        make_policy("snapkv", budget=20, window=WINDOW, ranking="half")
    with pytest.raises(InputError, match="'ranking' is no setting of snapkv"):
        make_policy("snapkv[ranking=model]", budget=64)
