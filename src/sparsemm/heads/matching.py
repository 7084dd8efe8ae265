"""Matching of generated tokens to the words of a page, by one of two rules.

`released` (the authors' code): a token belongs to the word that contains its string, if exactly one word does; tokens
of repeated words are not matched. `exact` (this project): the answer is aligned to the page character by character,
so that a repeated word is matched at each of its places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from rapidfuzz.distance import Indel

from sparsemm.documents.boxes import Box
from sparsemm.errors import InputError
from sparsemm.methods import MATCHINGS

Span = tuple[int, int]
Matches = list[int | None]


def check_matching(matching: str) -> None:
    """Raise InputError unless ``matching`` is the name of a rule."""
    if matching not in MATCHINGS:
        raise InputError(f"scoring.matching: {matching!r} is unknown; use {' or '.join(MATCHINGS)}")


def match_tokens(
    matching: str, tokenizer: Any, ids: Sequence[int], words: Sequence[str], boxes: Sequence[Box]
) -> Matches:
    """The word of each generated token.

    Args:
        matching: name of the rule, see `MATCHINGS`.
        ids: the generated tokens [S], without the end token.
        words, boxes: of the page.

    Returns:
        Indexes into ``words`` [S], None for a token that is not matched.

    Raises:
        InputError: an unknown rule.
    """
    check_matching(matching)
    if matching in ("released", "stripped"):
        return match_released(token_texts(tokenizer, ids), words)
    return match_exact(*token_spans(tokenizer, ids), words, boxes)


def match_released(tokens: Sequence[str], words: Sequence[str]) -> Matches:
    """The released rule, for tokens decoded one by one: the only word that contains the token, else None."""
    matches: Matches = []
    for token in tokens:
        text = token.strip()
        found = [index for index, word in enumerate(words) if text and text in word]
        matches.append(found[0] if len(found) == 1 else None)
    return matches


def match_exact(text: str, spans: Sequence[Span], words: Sequence[str], boxes: Sequence[Box]) -> Matches:
    """The exact rule, for an answer ``text`` whose token i adds the characters spans[i] = [start, end).

    The page is its words joined by spaces, in the given order or in the reading order of the boxes, whichever needs
    fewer edits. The alignment allows insertions and deletions only: with substitutions (Levenshtein), a word left out
    and another made up would shift the words between them. A passage in yet another order is not matched.

    A token is matched if all its characters but white space are aligned to adjacent characters of the page. If those
    lie in two words, it belongs to the word with more of them, or to the first of equals.
    """
    orders = [list(range(len(words))), reading_order(boxes)]
    aligned = [_align(text, [words[index] for index in order]) for order in orders]
    best = min((0, 1), key=lambda which: aligned[which][0])
    owners = [index for index in orders[best] for character in words[index] if not character.isspace()]
    at = aligned[best][1]
    matches: Matches = []
    for start, end in spans:
        found = [at[i] for i in range(start, end) if not text[i].isspace()]
        together = -1 not in found and all(b == a + 1 for a, b in pairwise(found))
        held = Counter(owners[place] for place in found) if together else Counter[int]()
        matches.append(max(held, key=held.__getitem__) if held else None)
    return matches


def _align(text: str, words: Sequence[str]) -> tuple[int, list[int]]:
    """Number of edits between answer and page, and the place of each character of the answer on the page.

    Places count the characters of the page without white space; -1 where a character is not aligned.
    """
    page = _spaced(" ".join(words))
    places = list(accumulate((character != " " for character in page), initial=0))
    at = [-1] * len(text)
    equal = 0
    for block in Indel.opcodes(_spaced(text), page).as_matching_blocks():
        at[block.a : block.a + block.size] = places[block.b : block.b + block.size]
        equal += block.size
    return len(text) + len(page) - 2 * equal, at


def _spaced(text: str) -> str:
    """The text with every white space character as a space, so that a line break in the answer is no edit."""
    return "".join(" " if character.isspace() else character for character in text)


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """Indexes of the boxes in reading order: lines from top to bottom, each from left to right.

    A line starts with the highest remaining box, and holds all boxes whose vertical centre lies within its height.
    """
    waiting = sorted(range(len(boxes)), key=lambda i: (boxes[i][1] + boxes[i][3], boxes[i][0]))
    order: list[int] = []
    while waiting:
        top, bottom = boxes[waiting[0]][1], boxes[waiting[0]][3]
        line = [i for i in waiting if top <= (boxes[i][1] + boxes[i][3]) / 2 <= bottom]
        order += sorted(line, key=lambda i: boxes[i][0])
        waiting = [i for i in waiting if i not in set(line)]
    return order


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token decoded alone."""
    texts = {token: str(tokenizer.decode([token])) for token in set(ids)}
    return [texts[token] for token in ids]


def token_spans(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[Span]]:
    """The decoded answer, and the characters [start, end) of it that each token adds.

    Prefixes are decoded, because single tokens lose spaces (SentencePiece) or parts of characters (bytes). The token
    that completes a character gets it; special tokens get nothing.
    """
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
    spans: list[Span] = []
    end = 0
    for count in range(1, len(ids) + 1):
        prefix = str(tokenizer.decode(list(ids[:count]), skip_special_tokens=True))
        start = end
        while end < min(len(prefix), len(text)) and prefix[end] == text[end]:
            end += 1
        spans.append((start, end))
    return text, spans
