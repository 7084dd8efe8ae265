"""The slow reference of the engine's tests: every row decoded token by token, its attention computed alone.

The kept positions are the engine's own; that they are right is tested against `compress`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.layer import AttendingCacheLayer, AttentionInputs
from sparsemm.evaluation.engine.cache import Prompt
from sparsemm.evaluation.engine.held import HeldLayer, hold_layer, make_prompts
from sparsemm.evaluation.engine.rows import plan_rows
from sparsemm.generation.prefill import capture_prefill, decode_step
from sparsemm.models.generation_settings import make_processors
from sparsemm.policies import Policy


@dataclass
class Stepwise:
    """Answers [C][B], and the decode passes times rows that they took."""

    tokens: list[list[list[int]]]
    row_passes: int


class StepLayer(AttendingCacheLayer):
    """Rows that each append one token a step; none of them ever leaves."""

    def __init__(self, prompts: list[Prompt]) -> None:
        super().__init__()
        self.prompts = prompts
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def attend(self, step: AttentionInputs) -> torch.Tensor:
        self.keys.append(step.key)
        self.values.append(step.value)
        key, value = torch.cat(self.keys, 2), torch.cat(self.values, 2)  # [R, Hkv, n, D]
        rows, heads, _, dim = step.query.shape
        kv_heads, used = key.shape[1], key.shape[2]
        query = (step.query * step.scaling).view(rows, kv_heads, heads // kv_heads, dim)
        out = torch.empty_like(query)
        for prompt in self.prompts:
            for row in range(prompt.start, prompt.stop):
                seen = query[row] @ prompt.key + prompt.bias[:, row - prompt.start]  # [Hkv, G, N]
                scores = torch.cat([seen, query[row] @ key[row].transpose(1, 2)], -1)
                weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
                out[row] = weights[..., :-used] @ prompt.value + weights[..., -used:] @ value[row]
        return out.view(rows, 1, heads, dim)


@torch.no_grad()
def stepwise(
    model: Any,
    inputs: Mapping[str, Any],
    policies: Sequence[Policy],
    *,
    max_new_tokens: int,
    stop: Collection[int],
) -> Stepwise:
    """Greedy answers of every policy for every sample, one token a row and pass."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    processors = make_processors(model, ids, mask, max_new_tokens=max_new_tokens)
    layers = int(model.config.get_text_config().num_hidden_layers)
    held: list[HeldLayer] = []
    first = capture_prefill(model, inputs, lambda seen: held.append(hold_layer(seen, policies, layers)))
    lengths = [value.shape[1] for value in held[0].values]
    rows = plan_rows(torch.stack([layer.keep for layer in held], 2), lengths, policies, 1e3)
    cache = Cache(
        layers=[StepLayer(make_prompts(layer, i, rows.groups, policies)) for i, layer in enumerate(held)]
    )
    sources = [group.sample for group in rows.groups for _ in group.cells]
    logits, positions = first.logits[sources], first.next_position[sources]
    written = torch.empty(len(sources), 0, dtype=torch.long)
    with ragged_attention_in(model):
        for step in range(max_new_tokens):
            if step:
                logits = decode_step(model, written[:, -1], positions, cache)
                positions = positions + 1
            scores = logits if processors is None else processors(sources, written, logits)
            written = torch.cat([written, scores.argmax(-1)[:, None]], 1)
    answers, passes = [], 0
    for tokens in written.tolist():
        end = next((place for place, token in enumerate(tokens) if token in stop), None)
        answers.append(tokens[:end])
        passes += max_new_tokens - 1 if end is None else end
    return Stepwise([[answers[row] for row in cell] for cell in rows.of.tolist()], passes)
