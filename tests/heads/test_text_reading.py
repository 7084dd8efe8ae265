"""Scores of a language model that reads pages as text, against HF's eager attentions."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sparsemm.errors import InputError
from sparsemm.heads.text_reading import TextPage, score_text, text_samples


def language_model(heads: int = 4, kv_heads: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=8 * heads,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


def page(name: str, length: int, rng: random.Random) -> TextPage:
    """`length` tokens to copy in words of two, then a separator, then the copy."""
    text = [rng.randrange(2, 40) for _ in range(length)]
    words = [tuple(range(start, min(start + 2, length))) for start in range(0, length, 2)]
    steps = tuple(range(length + 1, 2 * length + 1))
    return TextPage(name, (*text, 1, *text), steps, tuple(words[i // 2] for i in range(length)))


def by_hand(model: LlamaForCausalLM, item: TextPage) -> tuple[np.ndarray, np.ndarray]:
    model.set_attn_implementation("eager")
    with torch.no_grad():
        rows = model(torch.tensor([item.ids]), output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    hits = np.zeros((len(rows), rows[0].shape[1]), dtype=np.int64)
    weights = np.zeros(hits.shape)
    for layer, row in enumerate(rows):
        for step, source in zip(item.steps, item.sources):
            inside = np.isin(row[0, :, step - 1].argmax(-1).numpy(), source)
            hits[layer] += inside
            weights[layer] += inside / len(source)
    return hits, weights


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_hits_are_those_of_eager_attention(kv_heads: int) -> None:
    model, rng = language_model(kv_heads=kv_heads), random.Random(1)
    pages = [page(f"{i}", length, rng) for i, length in enumerate((5, 9, 7, 12, 3))]
    found = text_samples(model, pages, batch_size=2)
    assert found.image_ids == tuple(item.id for item in pages)
    for index, item in enumerate(pages):
        hits, weights = by_hand(model, item)
        assert np.array_equal(found.hits[index], hits)
        assert np.allclose(found.weights[index], weights)
        assert found.matched[index] == len(item.steps)


def test_batches_change_nothing_and_the_model_is_as_before() -> None:
    model, rng = language_model(), random.Random(2)
    pages = [page(f"{i}", 4 + i, rng) for i in range(5)]
    before = dict(vars(model.model.layers[0].self_attn)), model.config._attn_implementation
    one, all_at_once = (score_text(model, pages, batch_size=size) for size in (1, 5))
    assert np.array_equal(one.values, all_at_once.values)
    assert one.num_kv_heads == 2
    assert one.values.shape == (3, 4)
    after = dict(vars(model.model.layers[0].self_attn)), model.config._attn_implementation
    assert after == before


def test_heads_that_see_all_alike_peak_at_the_first_position() -> None:
    model = language_model(heads=2, kv_heads=2)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight.zero_()
    found = text_samples(model, [page("a", 6, random.Random(3))])
    assert found.hits[0, 0].tolist() == [2, 2], "the first word's two characters alone"
    assert found.weights[0, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("steps", "sources"), [((), ()), ((2,), ((2,),)), ((3, 2), ((0,), (0,))), ((9,), ((0,),)), ((2,), ((),))]
)
def test_a_page_without_steps_or_with_a_source_behind_them_is_refused(
    steps: tuple[int, ...], sources: tuple[tuple[int, ...], ...]
) -> None:
    with pytest.raises(InputError, match="page x"):
        TextPage("x", (1, 2, 3, 4), steps, sources)


def test_no_page_and_equal_ids_are_refused() -> None:
    item = page("a", 4, random.Random(0))
    for pages in ([], [item, item]):
        with pytest.raises(InputError, match="give every page its own"):
            score_text(language_model(), pages)
