"""Which word of a page a generated token stands for: the released rule and an exact one.

`released`: a token belongs to the word that contains its string, if exactly one word does; tokens of repeated
words are lost. `exact`: the characters of the answer are aligned to those of the page by the fewest insertions
and deletions, so that a repeated word is matched at each of its places. (With substitutions, as in Levenshtein's
distance, a word left out and another made up would put those between them in the wrong place.) The page is its
words joined by spaces, in the given order or in reading order of the boxes, whichever needs fewer edits. Parts
of the answer that come in yet another order than the page are edits, and not matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from rapidfuzz.distance import Indel

from sparsemm.documents.boxes import Box
from sparsemm.errors import InputError

MATCHINGS = ("released", "exact")
Span = tuple[int, int]
Matches = list[int | None]


def check_matching(matching: str) -> None:
    """Raise InputError unless it is a rule's name."""
    if matching not in MATCHINGS:
        raise InputError(f"scoring.matching: {matching!r} is unknown; use {' or '.join(MATCHINGS)}")


def match_tokens(
    matching: str, tokenizer: Any, ids: Sequence[int], words: Sequence[str], boxes: Sequence[Box]
) -> Matches:
    """The index of each token's word, None where it has none; `matching` is a name of `MATCHINGS`."""
    check_matching(matching)
    if matching == "released":
        return match_released(token_texts(tokenizer, ids), words)
    return match_exact(*token_spans(tokenizer, ids), words, boxes)


def match_released(tokens: Sequence[str], words: Sequence[str]) -> Matches:
    """The released rule: a token belongs to the word that contains it, if exactly one word does."""
    matches: Matches = []
    for token in tokens:
        text = token.strip()
        found = [index for index, word in enumerate(words) if text and text in word]
        matches.append(found[0] if len(found) == 1 else None)
    return matches


def match_exact(text: str, spans: Sequence[Span], words: Sequence[str], boxes: Sequence[Box]) -> Matches:
    """The exact rule, for an answer whose token i adds the characters spans[i] = [start, end) of `text`.

    A token is matched if its characters but white space all align equal and stand together on the page; if they
    lie in two words it goes to the one that holds more of them, the first of equals.
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
    """(edits between answer and page, place of each of the answer's characters on the page).

    Places count the page's characters but white space; -1: none.
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
    """The same number of characters, all white space alike: a line break in the answer is no edit."""
    return "".join(" " if character.isspace() else character for character in text)


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """Indexes of the boxes line by line, from the top, each from the left.

    A line is the highest box left and all whose vertical centre lies between its top and bottom.
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
    """(the decoded answer, which of its characters [start, end) each token adds).

    Prefixes are decoded, because tokens alone lose spaces (SentencePiece) or parts of characters (bytes):
    the token that completes a character gets it, special tokens get nothing.
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
