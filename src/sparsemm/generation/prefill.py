"""Prefills by hand: one that hands every layer to a callback, and one into a packed cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.layer import OwnedLayer, Step
from sparsemm.cache.ragged import Chooser, RaggedCache, valid_tokens
from sparsemm.families import family_of
from sparsemm.generation.choosing import chooser
from sparsemm.generation.chunking import chunked
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers
from sparsemm.policies import Policy


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
    with ragged_attention_in(model):
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
    """Logits [R, V] after feeding tokens int64 [R] at positions int64 [R]; only inside `ragged_attention_in(model)`."""
    out = model(
        input_ids=tokens[:, None],
        position_ids=family_of(model).decode_positions(positions),
        past_key_values=cache,
        use_cache=True,
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits


@torch.no_grad()
def prefill(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    policy: Policy,
    reserve: int,
    *,
    choosers: Sequence[Chooser] | None = None,
    storage: str = "auto",
) -> tuple[RaggedCache, torch.Tensor, torch.Tensor]:
    """Run an unpadded prompt into a packed cache with room for `reserve` tokens.

    Returns the cache, its first new token, int64 [1, 1], and the `position_ids` of that. Only inside
    `ragged_attention_in(model)`. choosers: in place of the policy's own, one a layer; storage: see `RaggedLayer`.
    """
    layers = shape(model).num_layers
    choosers = choosers or [chooser(policy, layer, layers) for layer in range(layers)]
    cache = RaggedCache(layers, choosers, reserve=reserve, storage=storage)
    family = family_of(model)
    whole = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    positions, following = family.prefill_positions(model, whole)
    rest = {name: value for name, value in inputs.items() if name != "attention_mask"}
    options = {**rest, "position_ids": positions, "past_key_values": cache, "use_cache": True}
    model_: Any = model
    with chunked(model):
        out = model_.get_decoder()(**_text_inputs(model_, options))
    token = model_.get_output_embeddings()(out.last_hidden_state[:, -1:]).argmax(-1)
    return cache, token, family.decode_positions(following)


class _Reached(Exception):
    """The text model was called."""


def _text_inputs(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What the model's forward gives its text model.

    A forward keeps the images' features, twice, until the text model is done. Left at that call and begun again with
    the text model alone, they are gone: at 32K tokens two of the about ten hidden states of the peak.
    """
    given: dict[str, Any] = {}

    def take(module: Any, positional: tuple[()], named: dict[str, Any]) -> None:
        assert not positional
        given.update(named)
        raise _Reached

    hook = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    try:
        model(**options)
    except _Reached:
        pass
    finally:
        hook.remove()
    return given
