"""Plain `generate` of transformers, as the tests compare with it."""

from __future__ import annotations

import torch


def generate(model, inputs, new, **options):
    with torch.no_grad():
        out = model.generate(
            **inputs,
            max_new_tokens=new,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **options,
        )
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits)
