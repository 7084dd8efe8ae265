"""Greedy decode of all rows of a batch together; rows that have ended leave the batch."""

from __future__ import annotations

from collections.abc import Collection

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.evaluation.engine.cache import EngineCache
from sparsemm.generation.prefill import decode_step

_LIVE_SHARE = 0.85  # rows that have ended are removed once no more than this share of the batch goes on


def decode_rows(
    model: PreTrainedModel,
    cache: EngineCache,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    *,
    max_new_tokens: int,
    stop: Collection[int],
) -> list[list[int]]:
    """Greedy decode.

    Args:
        tokens: every row's first new token, int64 [R].
        positions: its position, counted without pads, int64 [R].
        stop: token ids that end an answer.

    Returns:
        New tokens of every row, without the stop token.
    """
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
            tokens = decode_step(model, tokens, positions, cache).argmax(-1)
            positions = positions + 1
    return answers
