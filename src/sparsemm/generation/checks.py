"""Checks of compress(): unsupported models and `generate` calls raise InputError before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import GenerationMixin, PreTrainedModel
from transformers.generation.configuration_utils import GenerationConfig, GenerationMode

from sparsemm.cache.attention import NAME
from sparsemm.cache.ragged import RaggedCache, Session
from sparsemm.errors import InputError
from sparsemm.policies import Policy
from sparsemm.results.provenance import model_name

_CALL = inspect.signature(GenerationMixin.generate)


def check_model(model: PreTrainedModel, policy: Policy, *, any_scores: bool) -> None:
    """Raise InputError for a model or a policy that compress() does not support.

    Args:
        model: what the caller gave as the model.
        policy: what the caller gave as the policy.
        any_scores: accept scores that were measured on another model.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"compress(...) got a {type(model).__name__}; give the transformers model itself, neither compiled nor "
            "wrapped"
        )
    if not isinstance(policy, Policy):
        raise InputError(f"policy {policy!r} is no policy; give for example SnapKV(256), or make_policy(...)")
    text = model.config.get_text_config()
    if text._attn_implementation == NAME:
        raise InputError("the model is inside compress(...) already; leave it before entering again")
    if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
        raise InputError(f"{type(model).__name__} is compiled by torch; give the model before compile()")
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if getattr(text, "sliding_window", None) is not None or kinds != {"full_attention"}:
        raise InputError(
            f"{type(model).__name__} uses sliding-window attention (sliding_window="
            f"{getattr(text, 'sliding_window', None)}); set config.text_config.sliding_window to None"
        )
    _check_scores(model, policy, any_scores)


def _check_scores(model: PreTrainedModel, policy: Policy, any_scores: bool) -> None:
    scores = getattr(policy, "scores", None)
    if scores is None:
        return
    text = model.config.get_text_config()
    found = np.shape(getattr(scores, "values", scores))
    heads = int(text.num_attention_heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    fitting = [(int(text.num_hidden_layers), kv_heads), (int(text.num_hidden_layers), heads)]
    if found not in fitting:
        raise InputError(
            f"the {policy.name} policy has scores of shape {found}, the model needs {fitting[0]} or "
            f"{fitting[1]}; use scores of this model"
        )
    metadata: Mapping[str, Any] = getattr(scores, "metadata", None) or {}
    theirs, ours = model_name(str(metadata.get("model") or "")), model_name(model.name_or_path or "")
    if not any_scores and theirs and ours and theirs != ours:
        raise InputError(
            f"the {policy.name} policy has scores of model {theirs!r}, this is {ours!r}; use scores of this "
            "model, or say compress(..., any_scores=True)"
        )


def check_call(
    model: PreTrainedModel, session: Session, args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Raise InputError for a `generate` call that a compressed cache does not support.

    Args:
        model: the compressed model.
        session: of the `compress` context.
        args: positional arguments of `model.generate`.
        options: its keyword arguments.
    """
    asked = _CALL.bind_partial(model, *args, **options).arguments
    options = asked.get("kwargs", {})
    if asked.get("custom_generate") is not None:
        raise InputError("compress(...) cannot follow a custom_generate loop; leave it out")
    _check_implementation(options.get("cache_implementation"))
    prepare: Any = model._prepare_generation_config
    config, rest = prepare(asked.get("generation_config"), **options)
    _check_config(config, config.get_generation_mode(asked.get("assistant_model")))
    given = rest.get("past_key_values")
    if given is not None:
        prompts = [asked.get("inputs"), rest.get("input_ids"), rest.get("inputs_embeds")]
        prompt = next((tensor for tensor in prompts if tensor is not None), None)
        _check_cache(given, session, prompt, config.num_return_sequences or 1)


def _check_implementation(name: str | None) -> None:
    if name not in (None, "dynamic"):
        raise InputError(f"compress(...) makes its own cache; leave out cache_implementation {name!r}")


def _check_config(config: GenerationConfig, mode: GenerationMode) -> None:
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise InputError(
            f"compress(...) cannot follow {mode.value}; generate greedily or sample, with num_beams=1 and no "
            "assistant"
        )
    _check_implementation(config.cache_implementation)
    if config.prefill_chunk_size is not None:
        raise InputError("compress(...) ranks whole prompts; leave out prefill_chunk_size")
    if config.use_cache is False:
        raise InputError("compress(...) needs the cache; leave out use_cache=False")
    if config.output_attentions:
        raise InputError("compress(...) forms no attention weights; leave out output_attentions")


def _check_cache(given: object, session: Session, prompt: torch.Tensor | None, sequences: int) -> None:
    """A later turn needs a cache of this `compress`, as many rows as it holds and the whole conversation."""
    if not isinstance(given, RaggedCache) or given.session is not session:
        raise InputError(
            f"past_key_values is a {type(given).__name__} from outside this compress(...); leave it out, "
            "or give the cache that a generate call inside returned"
        )
    if prompt is None:
        return
    rows, held = prompt.shape[0] * sequences, given.ragged[0].batch_size
    if rows != held:
        raise InputError(
            f"past_key_values holds {held} sequences, {rows} are asked for; give one prompt each and leave out "
            "num_return_sequences"
        )
    seen = given.get_seq_length()
    if prompt.shape[1] <= seen:
        raise InputError(
            f"past_key_values has seen {seen} tokens, the prompt has {prompt.shape[1]}; give the whole "
            "conversation, with what was generated"
        )
