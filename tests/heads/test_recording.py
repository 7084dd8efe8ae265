"""The attention rows behind generated tokens, in every family, against eager attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsemm.heads.recording import ArgmaxRecorder, RowRecorder, generate_greedily, recording
from sparsemm.models.loading import build_inputs, shape
from sparsemm.models.patching import attention_implementation

from helpers.tiny import image
from helpers.tiny_families import FAMILY_NAMES, tiny_family

NEW = 5
SIZES = [(60, 40), (100, 64)]  # prompts of two lengths: a padded batch


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_equals_eager_output_attentions(name: str) -> None:
    """Peaks in a padded batch, whole rows in a batch of one."""
    model, processor = tiny_family(name)
    pictures = [image(*size, seed=index) for index, size in enumerate(SIZES)]
    inputs = build_inputs(processor, pictures, ["Read it."] * 2)
    size = shape(model)
    recorder = ArgmaxRecorder(size.num_layers)
    with recording(model, recorder):
        answers = generate_greedily(model, processor.tokenizer, inputs, NEW)
    assert [len(answer) for answer in answers] == [NEW] * 2, "a random model must not stop by chance"
    peaks = recorder.positions()
    rows = RowRecorder([(size.num_layers - 1, size.num_heads - 1)])
    with recording(model, rows):
        generate_greedily(
            model, processor.tokenizer, build_inputs(processor, pictures[:1], ["Read it."]), NEW
        )
    for row, picture in enumerate(pictures):
        alone = build_inputs(processor, [picture], ["Read it."])
        with attention_implementation(model, "eager"), torch.no_grad():
            out = model.generate(
                **alone,
                max_new_tokens=NEW,
                do_sample=False,
                output_attentions=True,
                return_dict_in_generate=True,
            )
        length = alone["input_ids"].shape[1]
        assert out.sequences[0, length:].tolist() == answers[row]
        padding = inputs["input_ids"].shape[1] - length
        for step in range(NEW):
            for layer in range(size.num_layers):
                attended = out.attentions[step][layer][0, :, -1]
                assert (peaks[row, step, layer] - padding).tolist() == attended.argmax(dim=-1).tolist()
            if row == 0:
                np.testing.assert_allclose(
                    rows.rows((size.num_layers - 1, size.num_heads - 1))[step],
                    out.attentions[step][-1][0, -1, -1],
                    atol=1e-6,
                )
