"""The text model inside a vision-language model: its decoder layers, its attention implementation, its end tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def switched(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Text attention implementation set to `name`; on exit every config of the model is exactly as it was."""
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    for key in model.config.sub_configs:
        sub = getattr(model.config, key)
        configs[id(sub)] = sub
    before = {key: config._attn_implementation_internal for key, config in configs.items()}
    try:
        nested = "text_config" in model.config.sub_configs
        model.set_attn_implementation({"text_config": name} if nested else name)
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation_internal = before[key]


def end_tokens(model: PreTrainedModel) -> list[int]:
    """Token ids at which `generate` ends an answer."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [] if ends is None else [int(t) for t in (ends if isinstance(ends, list) else [ends])]
