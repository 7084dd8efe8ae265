"""The text model inside a vision-language model: its decoder layers and its end tokens."""

from __future__ import annotations

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError


def text_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The text model's decoder layers, first to last."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    layers = getattr(decoder, "layers", None)
    if layers is None:
        raise InputError(
            f"{type(model).__name__} has no text decoder layers; use a vision-language model of the README"
        )
    return list(layers)


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Token ids at which `generate` ends an answer."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ends is None else [int(t) for t in (ends if isinstance(ends, list) else [ends])]
