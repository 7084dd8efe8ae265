"""Drafts: guesses of a row's next tokens, copied from texts that it may repeat. No torch.

Rows of one sample answer one question, so an answer that another row has written (with the full cache, say) drafts this
one. A row follows a text for as long as it agrees; after a difference the place where it goes on is found by looking up
the row's last two tokens in the text. A draft costs nothing but the forward pass that verifies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LOOKUP = 2  # last tokens that are looked up
REACH = 8  # tokens before a place that are compared: more say no more about what follows


@dataclass
class Text:
    """Tokens written so far and, for every pair of neighbours, the places after it.

    Attributes:
        tokens: what was written; append to it by `extend` only.
        ended: an end token follows them. A row that stands there most likely ends too: nothing drafts it.
    """

    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    _after: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    _seen: int = 0  # tokens whose places are in _after, which is made when something is looked up

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens."""
        self.tokens.extend(tokens)

    def places(self, written: Sequence[int]) -> list[int]:
        """Where a row with these tokens may go on in this text: after its last tokens, ascending."""
        if len(written) < LOOKUP:
            return [len(written)] if self.tokens[: len(written)] == list(written) else []
        for end in range(max(self._seen + 1, LOOKUP), len(self.tokens) + 1):
            self._after.setdefault(tuple(self.tokens[end - LOOKUP : end]), []).append(end)
        self._seen = len(self.tokens)
        return self._after.get(tuple(written[-LOOKUP:]), [])


@dataclass(frozen=True)
class Draft:
    """Guessed tokens, and how many tokens before them agree with the text that they are from, at most REACH."""

    tokens: list[int]
    agreeing: int


def find_draft(written: Sequence[int], texts: Sequence[Text], most: int) -> Draft:
    """The best draft of what follows.

    Taken from the place before which most tokens agree (at most REACH); among equals from the earlier text, there from
    the place nearest to the row's own length.

    Args:
        written: the row's tokens so far.
        texts: best first; one of them may be the row's own.
        most: tokens of the draft.
    """
    best = (0, 0, 0)
    found = Draft([], 0)
    for order, text in enumerate(texts):
        for place in text.places(written):
            if place == len(text.tokens) and not text.ended:  # what follows is not known yet
                continue
            agreeing = _agreeing(written, text.tokens, place)
            rank = (agreeing + 1, -order, -abs(place - len(written)))
            if rank > best:
                best, found = rank, Draft(text.tokens[place : place + most], agreeing)
    return found


def _agreeing(written: Sequence[int], tokens: Sequence[int], place: int) -> int:
    """How many tokens before the place agree; the whole of a row that agrees from its start counts as REACH."""
    limit = min(REACH, len(written), place)
    count = LOOKUP if limit >= LOOKUP else limit
    while count < limit and written[-count - 1] == tokens[place - count - 1]:
        count += 1
    return REACH if count == len(written) == place else count
