"""Greedy generation that records the attention row behind each generated token.

The row that produces a token is the last row of its forward pass: of the prefill for the first answer token, then of
each decode step. It is computed inside the attention function, without `output_attentions` and without any [T, T]
matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import PreTrainedModel

from sparsemm.families import family_of
from sparsemm.families.base import text_positions
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.generation_settings import BatchProcessor, make_processors, plain_generation
from sparsemm.models.patching import attention_implementation, patched
from sparsemm.models.text import end_tokens, text_layers

NAME = "sparsemm_recording"
_RECORDER = "sparsemm_recorder"


class Recorder(Protocol):
    """Receives one row of attention logits per layer and step."""

    def take(self, layer: int, logits: torch.Tensor) -> None:
        """logits [B, Hkv, G, T], scaled; masked positions hold -inf; G query heads per KV head."""


class ArgmaxRecorder:
    """Keeps the key position that each query head attends to most."""

    def __init__(self, num_layers: int) -> None:
        self._steps: list[list[torch.Tensor]] = [[] for _ in range(num_layers)]

    def take(self, layer: int, logits: torch.Tensor) -> None:
        # the largest logit is the largest probability; `max` finds it twice as fast as `argmax` on a CPU
        self._steps[layer].append(logits.max(dim=-1).indices.flatten(1))

    def positions(self) -> npt.NDArray[np.int64]:
        """[B, S, L, Hq]: positions in the padded sequence, S generated tokens."""
        stacked = torch.stack([torch.stack(steps, dim=1) for steps in self._steps], dim=2)
        return np.asarray(stacked.cpu().numpy(), dtype=np.int64)


class RowRecorder:
    """Keeps the whole row of a few heads, (layer, query head) each; sample 0 of the batch only."""

    def __init__(self, heads: Sequence[tuple[int, int]]) -> None:
        self._heads = list(heads)
        self._rows: dict[tuple[int, int], list[npt.NDArray[np.float32]]] = {head: [] for head in heads}

    def take(self, layer: int, logits: torch.Tensor) -> None:
        wanted = [head for at, head in self._heads if at == layer]
        if wanted:
            rows = logits[0].flatten(0, 1)[wanted].float().softmax(dim=-1).cpu().numpy()
            for head, row in zip(wanted, rows, strict=True):
                self._rows[layer, head].append(row)

    def rows(self, head: tuple[int, int]) -> list[npt.NDArray[np.float32]]:
        """Attention row of each generated token; row i has one key more than row i - 1."""
        return self._rows[head]


def recording_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention [B, Hq, q, D] -> [B, q, Hq, D] that passes its last row of logits to the module's recorder."""
    batch, heads, length, width = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    scale = width**-0.5 if scaling is None else scaling
    last = query[:, :, -1].reshape(batch, kv_heads, heads // kv_heads, width) * scale
    logits = last @ key.transpose(-1, -2)  # [B, Hkv, G, T]
    if attention_mask is not None:
        logits = logits.masked_fill(~attention_mask[:, :, -1:, :keys], float("-inf"))
    getattr(module, _RECORDER).take(module.layer_idx, logits)
    if length > 1:
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return out, None
    # a decode step needs this row for its output too: finish it instead of computing it twice
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).reshape(batch, 1, heads, -1), None


@contextmanager
def recording(model: PreTrainedModel, recorder: Recorder) -> Iterator[None]:
    """Pass the last attention row of every layer and forward pass to a recorder; undone exactly on exit.

    Args:
        model: a vision-language model.
        recorder: what gets the rows.
    """
    AttentionInterface.register(NAME, recording_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    modules = [layer.get_submodule("self_attn") for layer in text_layers(model)]
    assert not any(hasattr(module, _RECORDER) for module in modules), "recordings do not nest"
    with ExitStack() as undo:
        for module in modules:
            undo.enter_context(patched(module, _RECORDER, recorder))
        undo.enter_context(attention_implementation(model, NAME))
        yield


@torch.no_grad()
def generate_greedily(
    model: PreTrainedModel,
    tokenizer: Any,
    inputs: Mapping[str, torch.Tensor],
    max_new_tokens: int,
    *,
    positions: str = "mrope",
    generation: str = "model",
) -> list[list[int]]:
    """New token ids of each row of ``inputs`` (left padded), up to and without its end token.

    Each row's answer is that of `generate(do_sample=False)` for the row alone.

    Args:
        model: a vision-language model.
        tokenizer: its tokenizer, for the pad token.
        inputs: what `generate` gets.
        max_new_tokens: longest answer.
        positions: ``released`` gives families with M-RoPE plain positions on all axes; see `ScoringSettings`.
        generation: whether the settings of the model's generation_config act; see `ScoringSettings`.
    """
    inputs = dict(inputs)
    if positions == "released":
        inputs |= _plain_positions(model, inputs)
    ends = end_tokens(model)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    width = ids.shape[1]
    made = make_processors(model, ids, mask, max_new_tokens=max_new_tokens, generation=generation)
    processors = [] if made is None else [BatchProcessor(made, width)]
    with plain_generation(model):  # its processors would count the pads of a batch
        out = model.generate(  # type: ignore[operator]
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=pad,
            logits_processor=processors,
        )
    answers = []
    for row in out[:, width:].tolist():
        stop = next((index for index, token in enumerate(row) if token in ends), len(row))
        answers.append(row[:stop])
    return answers


def _plain_positions(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`position_ids` [4, B, T] that count the tokens along the row on every axis; nothing for a family that does so.

    `generate` adds 1 to each at every step.
    """
    own, _ = family_of(model).prefill_positions(model, inputs)
    if own.dim() == 2:
        return {}
    plain, _ = text_positions(inputs["attention_mask"])
    return {"position_ids": plain.expand(own.shape)}


def recorded_answers(
    model: PreTrainedModel,
    processor: Any,
    inputs: Mapping[str, Any],
    recorder: Recorder,
    settings: ScoringSettings,
) -> list[list[int]]:
    """Greedy answers to a batch as heads are scored on them, whose attention rows the recorder gets."""
    with recording(model, recorder):
        return generate_greedily(
            model,
            processor.tokenizer,
            inputs,
            settings.max_new_tokens,
            positions=settings.positions,
            generation=settings.generation,
        )
