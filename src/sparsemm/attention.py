"""The attention function registered with transformers, and a prefill that hands every layer to a callback.

The function itself decides nothing: `update` of our cache layers marks the key tensor with the layer that
owns it, and that layer does the work. Keys without a mark (another cache, or none) go to sdpa unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache import valid_tokens
from sparsemm.errors import InputError
from sparsemm.families import family_of
from sparsemm.owned_layer import OWNER, OwnedLayer, Step

# transformers dispatches on parts of names: no sdpa, flash, flex_attention, paged| or / in this one.
NAME = "sparsemm"


def ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """[B, Hq, q, D] queries to [B, q, Hq, D] outputs, through the cache layer that owns the keys, or sdpa."""
    owner = getattr(key, OWNER, None)
    if owner is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return owner.attend(Step(module, query, key, value, attention_mask, scale, dropout)), None


def register() -> None:
    """Make the name known to transformers (again and again is fine)."""
    AttentionInterface.register(NAME, ragged_attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(**options: Any) -> torch.Tensor | None:
    """`sdpa_mask`, but none for one token that nothing is hidden from: it would be looked into on the host.

    transformers leaves that one out too, before 5.20 not while a CUDA graph is captured.
    """
    if options["q_length"] == 1 and options.get("attention_mask") is None and not options.get("local_size"):
        return None
    return sdpa_mask(**options)


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
def switched(model: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Text attention implementation set to `name`; on exit every config of the model is exactly as it was."""
    register()
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


@dataclass(frozen=True)
class PrefillLayer:
    """What one layer saw at prefill. Keep copies of what you need: key and value die with the callback."""

    index: int
    query: torch.Tensor  # [B, Hq, T, D] after RoPE
    key: torch.Tensor  # [B, Hkv, T, D] after RoPE
    value: torch.Tensor  # [B, Hkv, T, D]
    valid: torch.Tensor | None  # bool [B, T], None when nothing is padded
    scaling: float


@dataclass(frozen=True)
class Prefilled:
    """A prefill's end: logits of the last prompt token [B, V] and the next token's position, int64 [B]."""

    logits: torch.Tensor
    next_position: torch.Tensor


class _CaptureLayer(OwnedLayer):  # type: ignore[no-untyped-call]
    """Stores nothing; calls back with what the attention function was given."""

    def __init__(self, index: int, callback: Callable[[PrefillLayer], None]) -> None:
        super().__init__()
        self.index, self.callback = index, callback

    def attend(self, step: Step) -> torch.Tensor:
        out = step.among_themselves()
        valid = valid_tokens(step.mask, step.query.shape[2])
        self.callback(PrefillLayer(self.index, step.query, step.key, step.value, valid, step.scaling))
        return out


@torch.no_grad()
def capture_prefill(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], callback: Callable[[PrefillLayer], None]
) -> Prefilled:
    """Run the prompt once; `callback` gets each layer's full keys and values right after its attention.

    inputs: what `generate` would get (left padded). Positions are those of `generate`, so a decode loop that
    goes on at `next_position` gives the same numbers.
    """
    mask = inputs.get("attention_mask")
    if mask is None:
        mask = torch.ones_like(inputs["input_ids"])
    positions, following = family_of(model).prefill_positions(model, {**inputs, "attention_mask": mask})
    padded = not bool((mask == 1).all())
    layers = [_CaptureLayer(index, callback) for index in range(len(text_layers(model)))]
    rest = {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}
    with switched(model):
        out = model(
            **rest,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefilled(out.logits[:, -1], following)


@torch.no_grad()
def decode_step(
    model: PreTrainedModel, tokens: torch.Tensor, positions: torch.Tensor, cache: Cache
) -> torch.Tensor:
    """Logits [R, V] after feeding tokens int64 [R] at positions int64 [R]; only inside `switched(model)`."""
    out = model(
        input_ids=tokens[:, None],
        position_ids=family_of(model).decode_positions(positions),
        past_key_values=cache,
        use_cache=True,
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits
