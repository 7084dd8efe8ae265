"""What one forward pass of the engine feeds: every row's own number of new tokens, none of which is padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch


@dataclass(frozen=True)
class Part:
    """Tokens whose products with their rows' own tokens are taken together, padded to the longest of their rows.

    Attributes:
        dense: they are one token of every row, in order; then the other attributes are not used.
        tokens: their numbers in the pass, int64 [n].
        rows: the rows that are read, int64 [r]; None for all.
        row: for every token the place of its row in `rows`, int64 [n].
        step: its place among its row's tokens of the part, int64 [n].
        most: the most tokens of a row.
    """

    dense: bool
    tokens: torch.Tensor
    rows: torch.Tensor | None
    row: torch.Tensor
    step: torch.Tensor
    most: int


@dataclass(frozen=True)
class Places:
    """Where the tokens of a pass belong, on one device.

    Attributes:
        rows: the row of every token, int64 [N].
        slots: its slot in the row's storage, int64 [N].
        hidden: the slots that it does not see, bool [N, columns]; None if it sees all.
        parts: see Part.
    """

    rows: torch.Tensor
    slots: torch.Tensor
    hidden: torch.Tensor | None
    parts: tuple[Part, ...]


class Fed:
    """The tokens of one pass, row after row.

    Args:
        counts: of every row.
        used: slots of its storage that every row has filled before.

    Attributes:
        begins: tokens before every row, and their number at the end.
        columns: slots that the rows fill with this pass, at most.
    """

    def __init__(self, counts: Sequence[int], used: Sequence[int]) -> None:
        self.counts = list(counts)
        self.begins = [0, *accumulate(self.counts)]
        self.columns = max(have + new for have, new in zip(used, counts, strict=True) if new)
        self._rows = [row for row, count in enumerate(counts) for _ in range(count)]
        self._steps = [step for count in counts for step in range(count)]
        self._slots = [used[row] + step for row, step in zip(self._rows, self._steps, strict=True)]
        self._irregular = [0, *accumulate(count != 1 for count in counts)]
        self._on: dict[torch.device, Places] = {}

    def single(self, start: int, stop: int) -> bool:
        """Whether each of the rows [start, stop) feeds one token."""
        return self._irregular[start] == self._irregular[stop]

    def on(self, device: torch.device) -> Places:
        """The places on a device; made once."""
        if device not in self._on:
            rows, slots = (torch.tensor(values, device=device) for values in (self._rows, self._slots))
            hidden = None
            if min(self._slots) < self.columns - 1:
                hidden = torch.arange(self.columns, device=device) > slots[:, None]
            self._on[device] = Places(rows, slots, hidden, self._parts(device))
        return self._on[device]

    def _parts(self, device: torch.device) -> tuple[Part, ...]:
        """All rows together while at least half of them feed several tokens, else first and further tokens apart.

        Reading some rows copies them, padding all rows to the longest draft computes products that nobody needs.
        """
        count, every = len(self.counts), range(len(self._rows))
        drafting = sum(new > 1 for new in self.counts)
        if not drafting or 2 * drafting >= count:
            return (self._part(list(every), 0, device),)
        return (
            self._part([token for token in every if not self._steps[token]], 0, device),
            self._part([token for token in every if self._steps[token]], 1, device),
        )

    def _part(self, tokens: list[int], first: int, device: torch.device) -> Part:
        def to(values: list[int]) -> torch.Tensor:
            return torch.tensor(values, device=device)

        count = len(self.counts)
        rows = list(dict.fromkeys(self._rows[token] for token in tokens))
        dense = len(tokens) == len(rows) == count == len(self._rows)
        few = 2 * len(rows) < count
        place = {row: index for index, row in enumerate(rows)} if few else dict(enumerate(range(count)))
        steps = [self._steps[token] - first for token in tokens]
        return Part(
            dense,
            to(tokens),
            to(rows) if few else None,
            to([place[self._rows[token]] for token in tokens]),
            to(steps),
            max(steps) + 1,
        )
