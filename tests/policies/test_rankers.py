"""Every ranker against its definition in plain loops, also in left-padded batches, short prompts and half precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemm import pooled_attention
from sparsemm.errors import InputError
from sparsemm.policies import rankers
from sparsemm.policies.rankers import (
    AccumulatedAttention,
    ImageAware,
    KeyDiff,
    KeyNorm,
    LastQuery,
    RandomTokens,
    Ranker,
    Streaming,
    ValueAttention,
    WindowAttention,
)

from helpers import naive_rankers as naive

WINDOW, SCALING = 6, 0.4
NEG = float("-inf")
ALL = [
    WindowAttention(WINDOW),
    LastQuery(WINDOW),
    AccumulatedAttention(WINDOW),
    AccumulatedAttention(WINDOW, average=True),
    KeyNorm(WINDOW),
    KeyDiff(WINDOW),
    ValueAttention(WINDOW),
    Streaming(WINDOW),
    Streaming(WINDOW, sinks=0),
    RandomTokens(3, WINDOW),
    ImageAware(WINDOW),
]
SHAPES = [(3, 3), (6, 2), (4, 1)]  # MHA, GQA, one KV head


def name_of(ranker: Any) -> str:
    own = {k: v for k, v in vars(ranker).items() if k in ("average", "sinks")}
    return f"{ranker.name}{own or ''}"


def prompt(heads: int, kv_heads: int, total: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"query": heads, "key": kv_heads, "value": kv_heads}
    drawn = {name: 2 * torch.randn(1, n, total, 8, generator=generator) for name, n in sizes.items()}
    return drawn | {"image": torch.arange(total)[None] % 7 > 2}


def ranked(ranker: Any, given: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    image = given["image"] if ranker.needs_image else None
    return ranker.rank(given["query"], given["key"], given["value"], scaling=SCALING, image=image, **options)


def order(values: Any) -> list[list[int]]:
    """Positions from the best to the worst, equals by position."""
    return [sorted(range(len(row)), key=lambda at: (row[at], -at), reverse=True) for row in values]


def defined(ranker: Any, given: dict[str, torch.Tensor]) -> Any:
    """The definition's values [Hkv][P] of a single prompt."""
    query, key, value = (given[name][0].tolist() for name in ("query", "key", "value"))
    attention = naive.attention_of(query, key, SCALING)
    loops = naive.Prompt(attention, key, value, given["image"][0].tolist())
    options = {k: v for k, v in vars(ranker).items() if k in ("average", "sinks")}
    return getattr(naive, ranker.name)(loops, WINDOW, **options)


def padded(given: list[dict[str, torch.Tensor]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """One left-padded batch; what stands at pads is large, so that it shows where it counts."""
    total = max(each["key"].shape[2] for each in given)
    sides: dict[str, torch.Tensor] = {}
    for name in ("query", "key", "value"):
        rows = []
        for each in given:
            _, heads, length, dim = each[name].shape
            rows.append(torch.cat([torch.full((1, heads, total - length, dim), 9.0), each[name]], dim=2))
        sides[name] = torch.cat(rows)
    image = torch.ones(len(given), total, dtype=torch.bool)
    for row, each in enumerate(given):
        image[row, total - each["image"].shape[1] :] = each["image"][0]
    sides["image"] = image
    lengths = torch.tensor([each["key"].shape[2] for each in given])
    return sides, torch.arange(total) >= total - lengths[:, None]


def test_every_ranker_is_tested() -> None:
    classes = {getattr(rankers, name) for name in rankers.__all__} - {Ranker}
    assert classes == {type(ranker) for ranker in ALL}


@pytest.mark.parametrize("ranker", ALL, ids=name_of)
@pytest.mark.parametrize(("heads", "kv_heads"), SHAPES)
def test_orders_as_its_definition(ranker: Any, heads: int, kv_heads: int) -> None:
    given = prompt(heads, kv_heads, 33)
    got = ranked(ranker, given)
    assert got.dtype == torch.float32
    assert got.shape == (1, kv_heads, 33 - WINDOW)
    assert got.isfinite().all()
    assert not ranker.sums or (got >= 0).all()
    if ranker.name == "random_tokens":
        return
    want = defined(ranker, given)
    assert order(got[0].tolist()) == order(want)
    if ranker.name not in ("image_aware", "streaming"):
        torch.testing.assert_close(
            got[0].double(), torch.tensor(want, dtype=torch.float64), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("ranker", ALL, ids=name_of)
@pytest.mark.parametrize(("heads", "kv_heads"), SHAPES)
def test_a_padded_row_ranks_as_alone(ranker: Any, heads: int, kv_heads: int) -> None:
    lengths = [40, 23, WINDOW + 1, WINDOW, 3]
    given = [prompt(heads, kv_heads, length, seed) for seed, length in enumerate(lengths)]
    batch, valid = padded(given)
    got = ranked(ranker, batch, valid=valid)
    assert got.dtype == torch.float32
    assert torch.equal(got == NEG, ~valid[:, None, : got.shape[-1]].expand_as(got))
    assert not got.isnan().any()
    for row, each in enumerate(given):
        alone = ranked(ranker, each)
        past = max(lengths[row] - WINDOW, 0)
        assert alone.shape == (1, kv_heads, past)
        own = got[row, :, got.shape[-1] - past :]
        assert order(own.tolist()) == order(alone[0].tolist())
        if ranker.name != "streaming":
            torch.testing.assert_close(own, alone[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("ranker", ALL, ids=name_of)
def test_half_precision_gives_float32_values(ranker: Any) -> None:
    given = prompt(6, 2, 29)
    half = {name: side.to(torch.bfloat16) if name != "image" else side for name, side in given.items()}
    back = {name: side.float() if name != "image" else side for name, side in half.items()}
    got = ranked(ranker, half)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, ranked(ranker, back), atol=1e-5, rtol=1e-4)


def test_window_attention_is_pooled_attention_to_the_bit() -> None:
    given = prompt(6, 2, 90)
    valid = torch.arange(90)[None] >= 11
    for options in ({}, {"valid": valid}):
        want = pooled_attention(
            given["query"], given["key"], window=WINDOW, kernel=3, scaling=SCALING, **options
        )
        assert torch.equal(ranked(WindowAttention(WINDOW, 3), given, **options), want)
        same = ranked(WindowAttention(WINDOW, 3, "model"), given, **options)
        assert torch.equal(same, want)  # a float32 model
    half = {name: side.to(torch.bfloat16) for name, side in given.items()}
    want = pooled_attention(half["query"], half["key"], window=WINDOW, scaling=SCALING, dtype=torch.bfloat16)
    assert torch.equal(ranked(WindowAttention(WINDOW, precision="model"), half), want)


def test_accumulated_attention_holds_nothing_of_size_t_by_t() -> None:
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else [out]:
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.numel())
            return out

    total, given = 1500, prompt(2, 1, 1500)
    with Sizes():
        got = ranked(AccumulatedAttention(WINDOW), given)
    assert largest < 0.3 * total * total
    logits = (given["query"] @ given["key"].mT * SCALING).masked_fill(
        torch.ones(total, total).triu(1) > 0, NEG
    )
    want = logits.softmax(-1).mean(1).sum(1)[:, None, :-WINDOW]
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_sinks_come_first_and_then_the_newest() -> None:
    got = ranked(Streaming(WINDOW, sinks=2), prompt(1, 1, WINDOW + 6))
    assert order(got[0].tolist()) == [[0, 1, 5, 4, 3, 2]]


def test_random_tokens_depend_on_the_seed_and_the_head_alone() -> None:
    one, other = prompt(6, 2, 50, 1), prompt(6, 2, 50, 2)
    assert torch.equal(ranked(RandomTokens(1, WINDOW), one), ranked(RandomTokens(1, WINDOW), other))
    assert not torch.equal(ranked(RandomTokens(1, WINDOW), one), ranked(RandomTokens(2, WINDOW), one))
    first, second = ranked(RandomTokens(1, WINDOW), one)[0]
    assert not torch.equal(first, second)


def test_text_comes_before_image_whatever_is_attended() -> None:
    given = prompt(3, 3, 60)
    image = given["image"][0, :-WINDOW]
    text = int((~image).sum())
    attended = ranked(WindowAttention(WINDOW), given)[0]
    for mine, theirs in zip(order(ranked(ImageAware(WINDOW), given)[0].tolist()), order(attended.tolist())):
        assert not image[mine[:text]].any()
        assert mine[text:] == [at for at in theirs if image[at]]
        assert mine[:text] == [at for at in theirs if not image[at]]
    with pytest.raises(InputError, match="image tokens are not known"):
        ImageAware().rank(given["query"], given["key"], given["value"], scaling=1.0)


@pytest.mark.parametrize("ranker", ALL, ids=name_of)
def test_rankers_are_frozen_and_fit_the_protocol(ranker: Any) -> None:
    assert isinstance(ranker, Ranker)
    assert ranker == dataclasses.replace(ranker)
    assert len({ranker, dataclasses.replace(ranker)}) == 1
    assert dataclasses.replace(ranker, window=3) != ranker
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranker.window = 7
    with pytest.raises(InputError, match=f"{ranker.name}: window is 0"):
        dataclasses.replace(ranker, window=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WindowAttention(kernel=4), "window_attention: kernel is 4"),
        (lambda: ValueAttention(kernel=0), "value_attention: kernel is 0"),
        (lambda: WindowAttention(precision="half"), "precision is 'half': use float32 or model"),
        (lambda: Streaming(sinks=-1), "streaming: sinks is -1"),
    ],
)
def test_bad_settings_are_one_clear_line(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
