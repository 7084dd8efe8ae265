"""The logits processors that a checkpoint's generation_config asks for, as greedy `generate` applies them.

Qwen2-VL's repetition_penalty of 1.05 is one: it acts under greedy decoding too. Each sample gets transformers' own list
of processors and is given its own tokens, without pads, so neither pads nor batch mates change its answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.configuration_utils import GenerationMode
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.methods import GENERATIONS
from sparsemm.models.patching import patched

# Every setting of transformers that makes a processor under greedy decoding.
_SETTINGS = (
    "sequence_bias",
    "encoder_repetition_penalty",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "min_length",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "renormalize_logits",
)
_UNSUPPORTED = ("guidance_scale", "watermarking_config")  # these keep state or run the model again
_CURE = "set generation: plain, or take it out of generation_config.json"


def in_force(model: PreTrainedModel, generation: str = "model") -> dict[str, Any]:
    """The settings of the model's generation_config that change greedy answers, such as {"repetition_penalty": 1.05}.

    Args:
        model: the model.
        generation: one of GENERATIONS; "plain" has none.

    Raises:
        InputError: for another `generation`, or settings that one greedy pass cannot follow (beams, guidance).
    """
    if generation not in GENERATIONS:
        raise InputError(f"generation: {generation!r} is not known; use one of {', '.join(GENERATIONS)}")
    if generation == "plain" or not hasattr(model, "generation_config"):
        return {}
    config = _config(model, 1)
    mode = config.get_generation_mode()
    if mode != GenerationMode.GREEDY_SEARCH:
        raise InputError(f"generation_config.json: it asks for {mode.value}, answers are greedy; {_CURE}")
    for name in _UNSUPPORTED:
        if getattr(config, name, None) not in (None, 1):
            raise InputError(f"generation_config.json: {name} is not supported; {_CURE}")
    return {name: value for name in _SETTINGS if (value := _acting(model, config, name)) is not None}


@contextmanager
def plain_generation(model: PreTrainedModel) -> Iterator[None]:
    """Inside, `model.generate` applies none of the settings that `in_force` tells of; end tokens stay."""
    plain = copy.deepcopy(model.generation_config)
    for name in (*_SETTINGS, *_UNSUPPORTED):
        setattr(plain, name, None)
    with patched(model, "generation_config", plain):
        yield


class PromptProcessors:
    """The processors of every prompt of a batch, applied to rows that continue these prompts.

    Use `make_processors`, which returns None where there is nothing to apply.

    Args:
        model: the model.
        prompts: token ids of every prompt without pads, image tokens included, int64 [T_b] each.
        max_new_tokens: longest answer.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[torch.Tensor], max_new_tokens: int) -> None:
        self.prompts = list(prompts)
        self._lists: list[Any] = [
            _processors(model, _config(model, max_new_tokens), prompt) for prompt in self.prompts
        ]

    def __call__(self, sources: Sequence[int], written: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Processed logits of the next token.

        Args:
            sources: for every row the number of its prompt.
            written: the tokens that each row has generated so far, int64 [R, n].
            logits: [R, V], in any dtype.

        Returns:
            float32 [R, V], as `generate` computes them.
        """
        scores = logits.float()
        out = torch.empty_like(scores)
        for source in dict.fromkeys(sources):
            rows = [row for row, other in enumerate(sources) if other == source]
            prompt = self.prompts[source].expand(len(rows), -1)  # the rows of a prompt are equally long
            out[rows] = self._lists[source](torch.cat([prompt, written[rows]], 1), scores[rows])
        return out


class BatchProcessor(LogitsProcessor):
    """PromptProcessors for `generate(logits_processor=[...])` inside `plain_generation`: row i continues prompt i.

    Args:
        processors: of the batch that `generate` gets.
        width: tokens of the padded prompts.
    """

    def __init__(self, processors: PromptProcessors, width: int) -> None:
        self._processors, self._width = processors, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Processed scores [B, V] of the padded sequences [B, width + n]."""
        return self._processors(range(len(input_ids)), input_ids[:, self._width :], scores)


def make_processors(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    max_new_tokens: int,
    generation: str = "model",
) -> PromptProcessors | None:
    """The processors of a left padded batch; None where no setting is in force, so that nothing is computed.

    Args:
        model: the model.
        input_ids: int64 [B, T], image tokens included.
        attention_mask: [B, T], 0 at pads; None without padding.
        max_new_tokens: longest answer.
        generation: one of GENERATIONS.

    Raises:
        InputError: as `in_force`.
    """
    if not in_force(model, generation):
        return None
    if attention_mask is None:
        return PromptProcessors(model, list(input_ids), max_new_tokens)
    prompts = [ids[mask != 0] for ids, mask in zip(input_ids, attention_mask, strict=True)]
    return PromptProcessors(model, prompts, max_new_tokens)


def _config(model: Any, max_new_tokens: int) -> GenerationConfig:
    """A copy of the model's generation_config as `generate(do_sample=False)` prepares it."""
    config, _ = model._prepare_generation_config(None, do_sample=False, max_new_tokens=max_new_tokens)
    model._prepare_special_tokens(config, True, device=model.device, batch_size=1)
    return config  # type: ignore[no-any-return]


def _processors(model: Any, config: GenerationConfig, prompt: torch.Tensor) -> LogitsProcessorList:
    """The list that `generate` makes for one prompt, int64 [T]."""
    length = len(prompt)
    config.max_length = (config.max_new_tokens or 0) + length
    if config.min_new_tokens is not None:
        config.min_length = config.min_new_tokens + length
    made: LogitsProcessorList = model._get_logits_processor(
        config, input_ids_seq_length=length, encoder_input_ids=prompt[None], device=prompt.device
    )
    return made


def _acting(model: Any, config: GenerationConfig, name: str) -> Any:
    """The value of a setting that makes a processor, else None."""
    value = getattr(config, name, None)
    if value is None:
        return None
    alone = copy.copy(config)
    for other in (*_SETTINGS, *_UNSUPPORTED):
        if other != name:
            setattr(alone, other, None)
    prompt = torch.zeros(2, dtype=torch.long, device=model.device)
    return value if _processors(model, alone, prompt) else None
