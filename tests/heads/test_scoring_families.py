"""Visual scores of every family: hits are counted where the family's layout puts the words of the page."""

from __future__ import annotations

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

NEW = 8
SIZES = [(60, 40), (100, 64)]


@pytest.mark.parametrize("convention", ["released", "all"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_equals_eager_output_attentions(name: str, convention: str) -> None:
    """The page is the answer, one word in the left part of the image and one in the right."""
    model, processor = tiny_family(name)
    size = shape(model)
    probe, wanted, counted = [], [], []
    for index, (width, height) in enumerate(SIZES):
        picture = image(width, height, seed=index)
        inputs = build_inputs(processor, [picture], [READ_PROMPT])
        with attention_implementation(model, "eager"), torch.no_grad():
            out = model.generate(
                **inputs,
                max_new_tokens=NEW,
                do_sample=False,
                output_attentions=True,
                return_dict_in_generate=True,
            )
        ids = inputs["input_ids"][0]
        text, spans = token_spans(processor.tokenizer, out.sequences[0, len(ids) :].tolist())
        middle = len(text) // 2
        boxes = [
            (0.0, 0.0, width * 0.6, float(height)),
            (width * 0.5, 0.0, float(width), float(height)),
        ]
        probe.append(ProbeImage(f"{index}", picture, [text[:middle], text[middle:]], boxes))  # type: ignore[arg-type]
        layout = make_layout(processor, (height, width))
        at = torch.nonzero(ids == size.image_token_id).flatten().tolist()
        covered = [{at[token] for token in layout.tokens(box, convention)} for box in boxes]
        assert all(covered)
        hits = np.zeros((size.num_layers, size.num_heads), np.int64)
        steps = [(i, int(start >= middle)) for i, (start, end) in enumerate(spans) if text[start:end].strip()]
        for step, word in steps:
            for layer, rows in enumerate(out.attentions[step]):
                hits[layer] += [peak in covered[word] for peak in rows[0, :, -1].argmax(dim=-1).tolist()]
        wanted.append(hits)
        counted.append(len(steps))
    settings = settings_of(max_new_tokens=NEW, convention=convention, matching="exact")
    samples = score_samples(model, processor, probe, settings, progress=False)
    assert samples.matched.tolist() == counted
    assert sum(counted) > 0
    np.testing.assert_array_equal(samples.hits, wanted)
