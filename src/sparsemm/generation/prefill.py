"""Prefills without `generate`: `capture_prefill` hands every layer to a callback, `prefill` fills a packed cache.

`decode_step` feeds one token a row after either of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.layer import AttendingCacheLayer, AttentionInputs
from sparsemm.cache.ragged import RaggedCache, TokenSelector, valid_tokens
from sparsemm.families import family_of
from sparsemm.generation.chunking import chunked
from sparsemm.generation.packing import Packing
from sparsemm.generation.selector import ImageTokens, find_image_tokens, token_selector
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers
from sparsemm.policies import Policy


@dataclass(frozen=True)
class PrefillLayer:
    """What one layer's attention got at prefill. The tensors are freed after the callback: copy what you keep.

    Attributes:
        index: of the layer.
        query: [B, Hq, T, D] after RoPE.
        key: [B, Hkv, T, D] after RoPE.
        value: [B, Hkv, T, D].
        valid: bool [B, T], False at pads; None without padding.
        scaling: factor on the products of queries and keys.
        images: the image tokens, bool [B, T], computed when it is called; None where they are not known.
    """

    index: int
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    valid: torch.Tensor | None
    scaling: float
    images: ImageTokens | None = None


@dataclass(frozen=True)
class Prefilled:
    """The result of a prefill.

    Attributes:
        logits: [B, V] of the last prompt token.
        next_position: int64 [B], the position of the first new token.
    """

    logits: torch.Tensor
    next_position: torch.Tensor


@torch.no_grad()
def capture_prefill(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    callback: Callable[[PrefillLayer], None],
    *,
    same: Sequence[str] | None = None,
) -> Prefilled:
    """Run prompts once and hand every layer's full keys and values to a callback.

    Args:
        model: a vision-language model.
        inputs: what `generate` would get (left padded); encoded images (`mm_encoder_outputs`) may stand in for pixels.
            Positions are those of `generate`, so decoding from `next_position` gives the same numbers.
        callback: called for each layer right after its attention.
        same: a name of every prompt's image or images. Prompts of one name share what they begin with, if it includes
            them: it is computed once, and the callback gets it for each of them all the same.
    """
    mask = inputs.get("attention_mask")
    if mask is None:
        mask = torch.ones_like(inputs["input_ids"])
    positions, following = family_of(model).prefill_positions(model, {**inputs, "attention_mask": mask})
    valid = None if bool((mask == 1).all()) else mask
    images = functools.cache(functools.partial(find_image_tokens, model, inputs.get("input_ids")))
    packing = None
    if same is not None:
        packing = Packing.of(inputs["input_ids"], mask, shape(model).image_token_id, same)
    if packing is None:
        given = {**_without_mask(inputs), "attention_mask": valid, "position_ids": positions}
    else:
        given = {**packing.inputs(inputs, positions), "attention_mask": None}
    layers = [
        _CaptureLayer(index, callback, images, packing, valid) for index in range(len(text_layers(model)))
    ]
    with ragged_attention_in(model):
        out = model(
            **given,
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
            logits_to_keep=1 if packing is None else packing.last,
        )
    return Prefilled(out.logits[:, -1] if packing is None else out.logits[0], following)


class _CaptureLayer(AttendingCacheLayer):  # type: ignore[no-untyped-call]
    """Stores nothing; calls back with what the attention function was given, or with that of a packed batch."""

    def __init__(
        self,
        index: int,
        callback: Callable[[PrefillLayer], None],
        images: ImageTokens,
        packing: Packing | None,
        valid: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.index, self.callback, self.images = index, callback, images
        self.packing, self.valid = packing, None if valid is None else valid.bool()

    def attend(self, inputs: AttentionInputs) -> torch.Tensor:
        query, key, value = inputs.query, inputs.key, inputs.value
        if self.packing is None:
            out = inputs.causal_attention()
            valid = valid_tokens(inputs.mask, query.shape[2])
        else:
            out, valid = self.packing.attend(inputs), self.valid
            query, key, value = (self.packing.unpack(states) for states in (query, key, value))
        self.callback(PrefillLayer(self.index, query, key, value, valid, inputs.scaling, self.images))
        return out


@torch.no_grad()
def prefill(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    policy: Policy,
    reserve: int,
    *,
    selectors: Sequence[TokenSelector] | None = None,
    storage: str = "auto",
) -> tuple[RaggedCache, torch.Tensor, torch.Tensor]:
    """Run an unpadded prompt into a packed cache; only inside `ragged_attention_in(model)`.

    Args:
        model: a vision-language model.
        inputs: what `generate` would get.
        policy: what is kept.
        reserve: new tokens that the cache has slots for.
        selectors: one a layer, in place of the policy's own.
        storage: a kind of store, see `make_store`.

    Returns:
        The cache, the first new token, int64 [1, 1], and its `position_ids`.
    """
    layers = shape(model).num_layers
    if selectors is None:
        images = functools.partial(find_image_tokens, model, inputs["input_ids"])
        selectors = [token_selector(policy, layer, layers, images) for layer in range(layers)]
    cache = RaggedCache(layers, selectors, reserve=reserve, storage=storage)
    family = family_of(model)
    whole = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    positions, following = family.prefill_positions(model, whole)
    options = {
        **_without_mask(inputs),
        "position_ids": positions,
        "past_key_values": cache,
        "use_cache": True,
    }
    model_: Any = model
    with chunked(model):
        out = model_.get_decoder()(**_text_inputs(model_, options))
    token = model_.get_output_embeddings()(out.last_hidden_state[:, -1:]).argmax(-1)
    return cache, token, family.decode_positions(following)


@torch.no_grad()
def decode_step(
    model: PreTrainedModel, tokens: torch.Tensor, positions: torch.Tensor, cache: Cache
) -> torch.Tensor:
    """Logits [R, V] after feeding one token a row; only inside `ragged_attention_in(model)`.

    Args:
        model: the model of the cache.
        tokens: int64 [R].
        positions: int64 [R].
        cache: a filled cache.
    """
    out = model(
        input_ids=tokens[:, None],
        position_ids=family_of(model).decode_positions(positions),
        past_key_values=cache,
        use_cache=True,
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits


def _without_mask(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}


class _TextModelCalled(Exception):
    """Raised in place of the text model's forward, once its inputs are known."""


def _text_inputs(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The inputs that the model's forward passes to its text model.

    A forward holds the images' features twice until the text model returns. When it is aborted at that call and the
    text model is run alone, they are freed: at 32K tokens that is two of about ten hidden states at the peak.
    """
    given: dict[str, Any] = {}

    def take(module: Any, positional: tuple[()], named: dict[str, Any]) -> None:
        assert not positional
        given.update(named)
        raise _TextModelCalled

    hook = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    try:
        model(**options)
    except _TextModelCalled:
        pass
    finally:
        hook.remove()
    return given
