"""Scores of heads on every family equal those from the attention weights that transformers itself computes."""

from __future__ import annotations

import pytest
import torch

from sparsemm.families import family_of
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scoring import ScoringSettings, score_samples
from sparsemm.models.loading import build_inputs, shape

from helpers import tiny
from helpers.generation import generate
from helpers.tiny_families import FAMILY_NAMES, tiny_family

SETTINGS = ScoringSettings("Read it.", 24, 1, "all", "released")


def probe_image(name, tokenizer, tokens):
    """A probe whose words are characters of the random model's answer, so that some tokens match."""
    texts = [tokenizer.decode([token]).strip() for token in tokens.tolist()]
    letters = [text for text in dict.fromkeys(texts) if len(text) == 1][:4]
    boxes = [(4.0 + 12 * i, 6.0, 14.0 + 12 * i, 30.0) for i in range(len(letters))]
    return ProbeImage(id=name, image=tiny.image(60, 40), words=tuple(letters), boxes=tuple(boxes))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_scores_equal_eager_attention(name):
    """Hits and weights of one probe image, from the weights that transformers itself computes."""
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [tiny.image(60, 40)], ["Read it."])
    tokens, _ = generate(model, inputs, new=24)
    item = probe_image(name, processor.tokenizer, tokens[0])
    found = score_samples(model, processor, [item], SETTINGS, progress=False)
    texts = [processor.tokenizer.decode([token]) for token in tokens[0].tolist()]
    layout = family_of(processor).layout(processor, (40, 60))
    at = layout.positions(inputs["input_ids"][0], shape(model).image_token_id)
    before = model.config.get_text_config()._attn_implementation
    model.set_attn_implementation({"text_config": "eager"})
    try:
        with torch.no_grad():
            attentions = model.generate(
                **inputs,
                max_new_tokens=24,
                do_sample=False,
                output_attentions=True,
                return_dict_in_generate=True,
            ).attentions
    finally:
        model.set_attn_implementation({"text_config": before})
    hits = torch.zeros(shape(model).num_layers, shape(model).num_heads, dtype=torch.int64)
    weights = hits.double()
    matched = 0
    for step, text in enumerate(texts):
        if text.strip() not in item.words:
            continue
        matched += 1
        box = item.boxes[item.words.index(text.strip())]
        inside = {int(at[token]) for token in layout.tokens(box, "all")}
        for layer, rows in enumerate(attentions[step]):
            for head, peak in enumerate(rows[0, :, -1].argmax(-1).tolist()):
                hits[layer, head] += peak in inside
                weights[layer, head] += (peak in inside) / len(inside)
    assert matched > 0
    assert found.matched.tolist() == [matched]
    assert found.hits[0].tolist() == hits.tolist()
    torch.testing.assert_close(torch.from_numpy(found.weights[0]), weights)


def test_some_random_head_is_hit():
    """The comparison above is not of zeros only."""
    total = 0
    for name in FAMILY_NAMES:
        model, processor = tiny_family(name)
        inputs = build_inputs(processor, [tiny.image(60, 40)], ["Read it."])
        tokens, _ = generate(model, inputs, new=24)
        item = probe_image(name, processor.tokenizer, tokens[0])
        found = score_samples(model, processor, [item], SETTINGS, progress=False)
        total += int(found.hits.sum())
    assert total > 0
