"""Visual scores of every family equal those from the attention weights that transformers itself computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.families import make_layout
from sparsemm.heads.matching import token_spans
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scoring import score_samples
from sparsemm.models.loading import build_inputs, shape
from sparsemm.models.patching import attention_implementation

from helpers.probes import settings_of
from helpers.tiny import image
from helpers.tiny_families import FAMILY_NAMES, tiny_family

NEW = 16
SIZES = [(60, 40), (100, 64)]  # prompts of two lengths: a padded batch
Words = tuple[list[str], list[int | None]]  # words of a page, and the word of each generated token


@cache
def read(name: str, index: int) -> tuple[list[int], list[int], Any]:
    """Prompt ids, answer ids and eager attention weights of one image, alone in its batch."""
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [image(*SIZES[index], seed=index)], [READ_PROMPT])
    with attention_implementation(model, "eager"), torch.no_grad():
        out = model.generate(
            **inputs,
            max_new_tokens=NEW,
            do_sample=False,
            output_attentions=True,
            return_dict_in_generate=True,
        )
    length = inputs["input_ids"].shape[1]
    return inputs["input_ids"][0].tolist(), out.sequences[0, length:].tolist(), out.attentions


def halves_of_the_answer(tokenizer: Any, answer: list[int]) -> Words:
    """For the exact rule: the page is the answer, its first half one word and its second half another."""
    text, spans = token_spans(tokenizer, answer)
    middle = len(text) // 2
    matches = [int(start >= middle) if text[start:end].strip() else None for start, end in spans]
    return [text[:middle], text[middle:]], matches


def letters_of_the_answer(tokenizer: Any, answer: list[int]) -> Words:
    """For the other rules: two characters of the answer are the words of the page, other characters match none."""
    texts = [tokenizer.decode([token]).strip() for token in answer]
    words = [text for text in dict.fromkeys(texts) if len(text) == 1][:2]
    return words, [words.index(text) if text in words else None for text in texts]


@pytest.mark.parametrize(
    ("matching", "page"),
    [
        ("exact", halves_of_the_answer),
        ("stripped", letters_of_the_answer),
        ("released", letters_of_the_answer),
    ],
)
@pytest.mark.parametrize("convention", ["released", "all"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_equals_eager_output_attentions(
    name: str, convention: str, matching: str, page: Callable[[Any, list[int]], Words]
) -> None:
    """One word in the left part of the image and one in the right."""
    model, processor = tiny_family(name)
    size = shape(model)
    probe, hits, weights, matched = [], [], [], []
    for index, (width, height) in enumerate(SIZES):
        prompt, answer, attentions = read(name, index)
        words, matches = page(processor.tokenizer, answer)
        boxes = [
            (0.0, 0.0, width * 0.6, float(height)),
            (width * 0.5, 0.0, float(width), float(height)),
        ][: len(words)]
        probe.append(ProbeImage(f"{index}", image(width, height, seed=index), words, boxes))
        layout = make_layout(processor, (height, width))
        at = [position for position, token in enumerate(prompt) if token == size.image_token_id]
        covered = [{at[token] for token in layout.tokens(box, convention)} for box in boxes]
        assert all(covered)
        hits.append(np.zeros((size.num_layers, size.num_heads), np.int64))
        weights.append(np.zeros((size.num_layers, size.num_heads)))
        for step, word in enumerate(matches):
            for layer, rows in enumerate(attentions[step] if word is not None else []):
                inside = np.array([peak in covered[word] for peak in rows[0, :, -1].argmax(-1).tolist()])
                hits[index][layer] += inside
                weights[index][layer] += inside / len(covered[word])
        matched.append(sum(word is not None for word in matches))
    settings = settings_of(max_new_tokens=NEW, convention=convention, matching=matching)
    samples = score_samples(model, processor, probe, settings)
    assert samples.matched.tolist() == matched
    assert min(matched) > 0
    assert np.sum(hits) > 0, "a comparison of zeros would show nothing"
    np.testing.assert_array_equal(samples.hits, hits)
    np.testing.assert_allclose(samples.weights, weights, rtol=1e-12)
