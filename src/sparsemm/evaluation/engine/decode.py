"""Greedy decode of all rows of a batch together, in passes that verify drafts; rows that have ended leave the batch.

A pass feeds a row its last token and a draft of what follows. The model's choice after each of them is what decoding
token by token would have chosen, as long as the draft agrees with it; up to the first difference all choices are kept,
one of which no draft had to give. So every pass takes every row at least one token on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.evaluation.engine.cache import EngineCache
from sparsemm.evaluation.engine.drafts import Draft, Text, find_draft
from sparsemm.evaluation.engine.lengths import DraftLengths
from sparsemm.generation.prefill import decode_step
from sparsemm.models.generation_settings import PromptProcessors

_LIVE_SHARE = 0.85  # rows that have ended are removed once no more than this share of the batch goes on
_NONE = Draft([], 0)


@dataclass
class Counts:
    """What decoding took.

    Attributes:
        passes: forward passes.
        row_passes: rows of all passes.
        fed: tokens fed.
        written: tokens of all answers, end tokens included.
    """

    passes: int = 0
    row_passes: int = 0
    fed: int = 0
    written: int = 0


@dataclass
class _Row:
    """A row that is being decoded: what it has written, and the texts that draft it, best first."""

    number: int
    position: int  # of its last token
    text: Text
    texts: list[Text] = field(default_factory=list)
    ended: bool = False


class GreedyChoice:
    """The next tokens: the largest logits in float32, after the checkpoint's processors if it has any.

    Args:
        processors: of the batch's prompts; None where nothing changes the logits.
        sources: for every row the number of its prompt.
    """

    def __init__(self, processors: PromptProcessors | None, sources: Sequence[int]) -> None:
        self._processors, self._sources = processors, list(sources)

    def __call__(
        self, logits: torch.Tensor, rows: Sequence[int], written: Sequence[Sequence[int]]
    ) -> list[int]:
        """The next tokens from logits [N, V].

        Args:
            logits: of the next token of a row, or of one that follows a draft of it.
            rows: whose they are, N numbers.
            written: the row's tokens before each, those of the draft included; read by the processors alone.
        """
        if self._processors is None:
            return logits.float().argmax(-1).tolist()
        chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
        lengths = [len(tokens) for tokens in written]
        for length in set(lengths):  # a processor gets sequences of one length
            at = [place for place, other in enumerate(lengths) if other == length]
            before = torch.tensor([list(written[place]) for place in at], dtype=torch.long)
            sources = [self._sources[rows[place]] for place in at]
            chosen[at] = self._processors(
                sources, before.view(len(at), length).to(logits.device), logits[at]
            ).argmax(-1)
        return chosen.tolist()

    @property
    def reads_written(self) -> bool:
        """Whether the choice depends on the tokens before."""
        return self._processors is not None


class RowDecoder:
    """Greedy decode of the rows of a cache.

    Args:
        model: the model.
        cache: the rows.
        choose: the rows' next tokens from their logits.
        max_new_tokens: longest answer.
        stop: token ids that end an answer.
        lengths: how much of a draft is verified; None: no drafts, every pass feeds a row one token.
        drafted_by: for every row the rows whose answers draft it, best first.
        lead: rows that are decoded before the others.

    Attributes:
        counts: what decoding took so far.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: EngineCache,
        choose: GreedyChoice,
        *,
        max_new_tokens: int,
        stop: Collection[int],
        lengths: DraftLengths | None,
        drafted_by: Sequence[Sequence[int]],
        lead: Collection[int] = (),
    ) -> None:
        self._model, self._cache, self._choose = model, cache, choose
        self._longest, self._stop, self._lengths = max_new_tokens, stop, lengths
        self._drafted_by, self._lead = drafted_by, set(lead)
        self.counts = Counts()

    def run(self, logits: torch.Tensor, positions: torch.Tensor) -> list[list[int]]:
        """Decode every row to its end.

        Args:
            logits: of every row's first new token, [R, V].
            positions: its position, counted without pads, int64 [R].

        Returns:
            New tokens of every row, without the stop token.
        """
        numbers = range(len(logits))
        firsts = self._choose(logits, numbers, [[]] * len(logits))
        rows = [_Row(number, at, Text()) for number, at in zip(numbers, positions.tolist(), strict=True)]
        for row, first in zip(rows, firsts, strict=True):
            row.texts = [rows[other].text for other in self._drafted_by[row.number]] + [row.text]
            self._write(row, [first])
        batch = list(rows)  # rows of the cache
        device = positions.device
        with ragged_attention_in(self._model):
            while live := [row for row in batch if not row.ended]:
                batch = self._drop_ended(batch, live, device)
                leading = [row for row in live if row.number in self._lead]
                self._pass(batch, leading or live, device)
        return [row.text.tokens for row in rows]

    def _drop_ended(self, batch: list[_Row], live: list[_Row], device: torch.device) -> list[_Row]:
        """The rows that the cache goes on with."""
        if len(live) > _LIVE_SHARE * len(batch):
            return batch
        self._cache.keep_rows(
            torch.tensor([place for place, row in enumerate(batch) if not row.ended], device=device)
        )
        return live

    def _pass(self, batch: list[_Row], going: list[_Row], device: torch.device) -> None:
        """One forward pass of some rows."""
        drafts, takes = [_NONE] * len(going), [0] * len(going)
        if self._lengths is not None:
            drafts = [self._draft(row, self._lengths.most) for row in going]
            takes = self._lengths.choose(drafts)
        fed = [
            [row.text.tokens[-1], *draft.tokens[:take]]
            for row, draft, take in zip(going, drafts, takes, strict=True)
        ]
        counts = {row.number: len(tokens) for row, tokens in zip(going, fed, strict=True)}
        self._cache.feed([counts.get(row.number, 0) for row in batch])
        logits = decode_step(
            self._model,
            torch.tensor([token for tokens in fed for token in tokens], device=device),
            torch.tensor(
                [
                    row.position + step
                    for row, tokens in zip(going, fed, strict=True)
                    for step in range(len(tokens))
                ],
                device=device,
            ),
            self._cache,
        )
        owners = [row.number for row, tokens in zip(going, fed, strict=True) for _ in tokens]
        written: list[list[int]] = []
        if self._choose.reads_written:
            for row, tokens in zip(going, fed, strict=True):
                written += [row.text.tokens + tokens[1 : step + 1] for step in range(len(tokens))]
        chosen = iter(self._choose(logits, owners, written))
        self.counts.passes += 1
        self.counts.row_passes += len(going)
        self.counts.fed += len(owners)
        for row, draft, tokens in zip(going, drafts, fed, strict=True):
            choices = [next(chosen) for _ in tokens]
            accepted = 0
            while accepted < len(tokens) - 1 and tokens[accepted + 1] == choices[accepted]:
                accepted += 1
            if self._lengths is not None and len(tokens) > 1:
                self._lengths.learn(draft, len(tokens) - 1, accepted)
            row.position += accepted + 1
            counts[row.number] = accepted + 1
            self._write(row, choices[: accepted + 1])
        self._cache.keep([counts.get(row.number, 0) for row in batch])

    def _draft(self, row: _Row, most: int) -> Draft:
        """At most so many tokens that the one after them ends the longest answer."""
        most = min(most, self._longest - len(row.text.tokens) - 1)
        return find_draft(row.text.tokens, row.texts, most) if most > 0 else _NONE

    def _write(self, row: _Row, tokens: list[int]) -> None:
        """Append chosen tokens up to an end token or the longest answer."""
        end = next((place for place, token in enumerate(tokens) if token in self._stop), None)
        row.text.extend(tokens[:end])
        row.text.ended = end is not None
        row.ended = row.text.ended or len(row.text.tokens) >= self._longest
        self.counts.written += len(tokens) if end is None else end + 1
