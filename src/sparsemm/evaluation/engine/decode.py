"""Greedy decode of all rows of a batch together; rows that have ended leave the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.evaluation.engine.cache import EngineCache
from sparsemm.generation.prefill import decode_step
from sparsemm.models.generation_settings import PromptProcessors

_LIVE_SHARE = 0.85  # rows that have ended are removed once no more than this share of the batch goes on


class GreedyChoice:
    """The next token of every row: the largest logit in float32, after the checkpoint's processors if it has any.

    Args:
        processors: of the batch's prompts; None where nothing changes the logits.
        sources: for every row the number of its prompt.
    """

    def __init__(self, processors: PromptProcessors | None, sources: Sequence[int]) -> None:
        self._processors, self._sources = processors, list(sources)
        self._written: torch.Tensor | None = None  # int64 [R, n], kept for the processors alone

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The next tokens, int64 [R], from logits [R, V]."""
        if self._processors is None:
            return logits.float().argmax(-1)
        if self._written is None:
            self._written = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        tokens = self._processors(self._sources, self._written, logits).argmax(-1)
        self._written = torch.cat([self._written, tokens[:, None]], 1)
        return tokens

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep the rows of the given (ascending) numbers."""
        self._sources = [self._sources[row] for row in rows]
        if self._written is not None:
            self._written = self._written[list(rows)]


def decode_rows(
    model: PreTrainedModel,
    cache: EngineCache,
    logits: torch.Tensor,
    positions: torch.Tensor,
    *,
    choose: GreedyChoice,
    max_new_tokens: int,
    stop: Collection[int],
) -> list[list[int]]:
    """Greedy decode.

    Args:
        logits: of every row's first new token, [R, V].
        positions: its position, counted without pads, int64 [R].
        choose: the rows' next tokens from their logits.
        stop: token ids that end an answer.

    Returns:
        New tokens of every row, without the stop token.
    """
    tokens = choose(logits)
    answers: list[list[int]] = [[] for _ in range(len(tokens))]
    numbers = list(range(len(tokens)))  # the answer that each row of the batch continues
    done: set[int] = set()
    with ragged_attention_in(model):
        for step in range(max_new_tokens):
            for number, token in zip(numbers, tokens.tolist(), strict=True):
                if token in stop:
                    done.add(number)
                elif number not in done:
                    answers[number].append(token)
            live = [row for row, number in enumerate(numbers) if number not in done]
            if not live or step == max_new_tokens - 1:
                break
            if len(live) <= _LIVE_SHARE * len(numbers):
                numbers = [numbers[row] for row in live]
                keep = torch.tensor(live, device=tokens.device)
                tokens, positions = tokens[keep], positions[keep]
                cache.keep_rows(keep)
                choose.keep_rows(live)
            tokens = choose(decode_step(model, tokens, positions, cache))
            positions = positions + 1
    return answers
