"""Matching of generated tokens to the words of a page, by one of three rules.

`stripped`: a token belongs to the word that contains its text, without the white space around it, if exactly one word
does; tokens of repeated words are not matched. `released`: the same with the string that the authors' code compares,
to the letter. `exact`: the answer is aligned to the page character by character, so that a repeated word is matched at
each of its places.
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

# Rules of `match_pieces`. What a piece is differs: see `token_pieces` and `token_texts`.
PIECE_RULES = ("stripped", "released-llava", "released-qwen")
_RAW_PIECES = ("llava_next", "llava_onevision")  # families whose released rule compares raw pieces


def check_matching(matching: str) -> None:
    """Raise InputError unless ``matching`` is the name of a rule."""
    if matching not in MATCHINGS:
        raise InputError(f"scoring.matching: {matching!r} is unknown; use {' or '.join(MATCHINGS)}")


def match_tokens(
    matching: str, processor: Any, ids: Sequence[int], words: Sequence[str], boxes: Sequence[Box]
) -> Matches:
    """The word of each generated token.

    Args:
        matching: name of the rule, see `MATCHINGS`.
        processor: the model's. Its family decides which string `released` compares.
        ids: the generated tokens [S], without the end token.
        words, boxes: of the page.

    Returns:
        Indexes into ``words`` [S], None for a token that is not matched.

    Raises:
        InputError: an unknown rule.
    """
    check_matching(matching)
    tokenizer = processor.tokenizer
    if matching == "exact":
        return match_exact(*token_spans(tokenizer, ids), words, boxes)
    rule = released_rule(processor) if matching == "released" else matching
    pieces = token_pieces if rule == "released-llava" else token_texts
    return match_pieces(rule, pieces(tokenizer, ids), words)


def released_rule(processor: Any) -> str:
    """The rule of `match_pieces` that the authors' code has for a model of the processor's family.

    They have scorers for LLaVA and for Qwen2-VL; families of neither kind follow Qwen's.

    Raises:
        InputError: a processor of an unknown family.
    """
    from sparsemm.families import family_of  # the rules themselves work without torch

    return "released-llava" if family_of(processor).name in _RAW_PIECES else "released-qwen"


def match_pieces(rule: str, pieces: Sequence[str], chunks: Sequence[str]) -> Matches:
    """The chunk of each generated token: the only one that contains the token's piece.

    Chunks that are equal count twice, so their pieces are not matched. Case counts.

    Args:
        rule: what the pieces are, and what of them is compared.
            ``released-llava``: the tokenizer's raw pieces (`convert_ids_to_tokens`), as they are. A piece with the
            U+2581 of a preceding space is in no chunk, so that inner pieces of words and first words of lines match.
            ``released-qwen``: each token decoded alone, as it is. A piece with its leading space matches inside a
            chunk of several words only.
            ``stripped``: each token decoded alone, compared without the white space around it.
        pieces: one a generated token, the end token left out.
        chunks: the words or lines of the page.

    Returns:
        Indexes into ``chunks``, None for a piece that is not matched. An empty piece is in every chunk: by the released
        rules, to the letter, it matches where there is one chunk alone. By ``stripped`` it never matches.

    Raises:
        InputError: an unknown rule. ``exact`` is none of these: it needs the answer's text and the boxes.
    """
    if rule not in PIECE_RULES:
        raise InputError(f"matching rule {rule!r} does not compare pieces; use {' or '.join(PIECE_RULES)}")
    matches: Matches = []
    for piece in pieces:
        text = piece.strip() if rule == "stripped" else piece
        skipped = rule == "stripped" and not text
        found = [] if skipped else [index for index, chunk in enumerate(chunks) if text in chunk]
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


def token_pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Each token as the tokenizer's vocabulary spells it."""
    return [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids))]


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
