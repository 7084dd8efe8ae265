"""The rules that match generated tokens to words: strings, exact places, repeated words, odd tokenizers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparsemm.errors import InputError
from sparsemm.heads.matching import (
    match_exact,
    match_pieces,
    match_tokens,
    reading_order,
    released_rule,
    token_pieces,
    token_spans,
    token_texts,
)
from sparsemm.methods import MATCHINGS

from helpers.tiny import processor, tokenizer
from helpers.tiny_families import FAMILY_NAMES, tiny_family

Box = tuple[float, float, float, float]


def row_of(count: int) -> list[Box]:
    """Boxes of one line, from the left."""
    return [(10.0 * i, 0.0, 10.0 * i + 8, 8.0) for i in range(count)]


def each_character(text: str) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(len(text))]


def owners_of(words: list[str]) -> list[int | None]:
    """The word of every character of the words joined by spaces."""
    owners: list[int | None] = []
    for index, word in enumerate(words):
        owners += [None] * (index > 0) + [index] * len(word)
    return owners


word_lists = st.lists(st.text("ABC", min_size=1, max_size=4), min_size=1, max_size=12)  # many repeats


PIECES = ["A", " D", "B", "", " ", "\n", "XY", "X", "BC", "BCD", "abc", "Y ", " Y", "\u2581A"]
WORDS = ["ABC", "BCD", "X Y"]


def test_stripped_rule() -> None:
    want = [0, 1, None, None, None, None, None, 2, None, 1, None, 2, 2, None]
    assert match_pieces("stripped", PIECES, WORDS) == want


@pytest.mark.parametrize("rule", ["released-llava", "released-qwen"])
def test_released_rules_compare_pieces_to_the_letter(rule: str) -> None:
    """A space is a character like any other: in one chunk of two words it matches, before a word it does not."""
    want = [0, None, None, None, 2, None, None, 2, None, 1, None, None, 2, None]
    assert match_pieces(rule, PIECES, WORDS) == want


@pytest.mark.parametrize("rule", ["released-llava", "released-qwen"])
def test_an_empty_piece_is_in_every_chunk_and_equal_chunks_count_twice(rule: str) -> None:
    assert match_pieces(rule, [""], ["AB"]) == [0]
    assert match_pieces(rule, [""], ["AB", "CD"]) == match_pieces(rule, [""], []) == [None]
    assert match_pieces(rule, ["AB", "C"], ["AB", "AB", "C"]) == [None, 2]
    assert match_pieces(rule, ["AB"], ["AB", ""]) == [0]
    assert match_pieces("stripped", [""], ["AB"]) == [None]


@given(st.lists(st.text("Ab \u2581", max_size=3)), st.lists(st.text("Ab ", max_size=4), max_size=5))
@settings(deadline=None)
def test_released_rules_equal_the_loop_of_the_authors(pieces: list[str], chunks: list[str]) -> None:
    def found(piece: str) -> Iterator[int]:
        return (at for at, chunk in enumerate(chunks) if chunk.find(piece) >= 0)

    want = [next(found(piece)) if sum(1 for _ in found(piece)) == 1 else None for piece in pieces]
    assert (
        match_pieces("released-llava", pieces, chunks)
        == match_pieces("released-qwen", pieces, chunks)
        == want
    )


def test_rules_that_do_not_compare_pieces_are_one_line() -> None:
    for rule in ("exact", "released", "fuzzy"):
        with pytest.raises(
            InputError, match=f"'{rule}' does not compare pieces; use stripped or released-llava"
        ):
            match_pieces(rule, ["A"], ["A"])


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_family_decides_which_released_rule(name: str) -> None:
    want = "released-llava" if name.startswith("llava") else "released-qwen"
    assert released_rule(tiny_family(name)[1]) == want


@given(word_lists, st.data())
@settings(deadline=None)
def test_a_perfect_answer_matches_every_character_of_repeated_words_too(
    words: list[str], data: st.DataObject
) -> None:
    """Whatever the white space between the words and wherever the tokens are cut."""
    text = " ".join(words)
    seen = "".join(data.draw(st.sampled_from(" \n\t")) if c == " " else c for c in text)
    want = owners_of(words)
    assert match_exact(seen, each_character(seen), words, row_of(len(words))) == want
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    spans = list(zip([0, *cuts], [*cuts, len(text)]))
    for (start, end), got in zip(spans, match_exact(seen, spans, words, row_of(len(words)))):
        inside = [word for word in want[start:end] if word is not None]
        most = max(map(inside.count, inside), default=0)
        assert got == next((word for word in inside if inside.count(word) == most), None)


@given(st.integers(2, 12), st.data())
@settings(deadline=None)
def test_what_is_left_out_or_made_up_does_not_shift_the_rest(count: int, data: st.DataObject) -> None:
    """Words of letters that no other word has, so that there is only one right place for each."""
    words = [chr(65 + 2 * i) * 2 + chr(66 + 2 * i) for i in range(count)]
    parts, want = [], []
    for index, word in enumerate(words):
        fate = data.draw(st.sampled_from(["read", "left out", "made up before", "misread"]))
        if fate == "made up before":
            parts.append("zzzz")
            want.append([None] * 4)
        if fate == "misread":
            parts.append("?" * 3)
            want.append([None] * 3)
        elif fate != "left out":
            parts.append(word)
            want.append([index] * 3)
    text = " ".join(parts)
    got = match_exact(text, each_character(text), words, row_of(count))
    at = 0
    for part, expected in zip(parts, want):
        assert got[at : at + len(part)] == expected
        at += len(part) + 1


def test_repeated_words_each_have_their_own_box() -> None:
    words = ["TOTAL", "12", "TOTAL", "12", "12"]
    text = " ".join(words)
    spans = [
        (0, 5),
        (5, 8),
        (8, 14),
        (14, 17),
        (17, 20),
    ]  # a token takes the space before it, as in real models
    assert match_exact(text, spans, words, row_of(5)) == [0, 1, 2, 3, 4]
    assert match_tokens("stripped", processor(), tokenizer().encode(text), words, row_of(5)) == [None] * 20


def test_a_token_must_be_read_whole_and_goes_to_the_word_with_most_of_it() -> None:
    words = ["AB", "CDE"]
    assert match_exact("AB CDE", [(0, 6)], words, row_of(2)) == [1]
    assert match_exact("AB CDE", [(0, 5), (5, 6)], words, row_of(2)) == [0, 1]  # two each: the first
    assert match_exact("AB CxE", [(0, 2), (3, 6), (3, 4)], words, row_of(2)) == [0, None, 1]
    assert match_exact("AB CDE", [(2, 3), (3, 3)], words, row_of(2)) == [None, None]
    assert match_exact("", [(0, 0)], words, row_of(2)) == [None]


def test_words_with_spaces_and_empty_words() -> None:
    text = "A B C"
    assert match_exact(text, each_character(text), ["A B", "C"], row_of(2)) == [0, None, 0, None, 1]
    assert match_exact("A", [(0, 1)], ["", "A"], row_of(2)) == [1]
    assert match_exact("A", [(0, 1)], [""], row_of(1)) == [None]


def test_reading_order_goes_by_lines() -> None:
    boxes: list[Box] = [(50, 2, 60, 12), (0, 0, 10, 10), (0, 20, 10, 30), (30, 21, 40, 31), (20, 1, 30, 9)]
    assert reading_order(boxes) == [1, 4, 0, 2, 3]
    assert reading_order([]) == []
    flat: list[Box] = [(0, 5, 1, 5), (0, 5, 1, 5)]
    assert reading_order(flat) == [0, 1]


@given(st.permutations(range(12)))
def test_words_given_in_any_order_are_found_in_reading_order(order: list[int]) -> None:
    page: list[Box] = [
        (30.0 * (i % 3), 20.0 * (i // 3), 30.0 * (i % 3) + 25, 20.0 * (i // 3) + 9) for i in range(12)
    ]
    words, boxes = [chr(65 + i) * 3 for i in order], [page[i] for i in order]
    read = [order.index(i) for i in range(12)]
    assert reading_order(boxes) == read
    text = " ".join(words[i] for i in read)
    assert [w for w in match_exact(text, each_character(text), words, boxes) if w is not None] == [
        index for index in read for _ in range(3)
    ]


def test_the_given_order_is_tried_first() -> None:
    """Two columns, given column by column and read so: sorting by lines would be wrong."""
    words = ["LEFT", "UNDER", "RIGHT", "BELOW"]
    boxes: list[Box] = [(0, 0, 9, 9), (0, 20, 9, 29), (50, 0, 59, 9), (50, 20, 59, 29)]
    text = " ".join(words)
    assert match_exact(text, each_character(text), words, boxes) == owners_of(words)


def sentencepiece() -> Any:
    """A tokenizer of Llama's kind: U+2581 is a space, and is stripped where an answer begins."""
    pieces = ["<s>", "\u2581AB", "\u2581C", "D", "<0xC3>", "<0xA9>", "\u2581"]
    backend = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


class LlavaNextProcessor:
    """All that a family and its matching know a processor by."""

    def __init__(self, made: Any) -> None:
        self.tokenizer = made


def test_pieces_are_raw_and_texts_are_decoded_alone() -> None:
    made = sentencepiece()
    ids = [1, 2, 3, 6]
    assert token_pieces(made, ids) == ["\u2581AB", "\u2581C", "D", "\u2581"]
    assert token_texts(made, ids) == ["AB", "C", "D", ""]
    words, boxes = ["AB", "CD"], row_of(2)
    llava = LlavaNextProcessor(made)
    assert match_tokens("released", llava, ids, words, boxes) == [None, None, 1, None]
    assert match_tokens("stripped", llava, ids, words, boxes) == [0, 1, 1, None]


def test_qwen_keeps_the_space_of_a_single_token() -> None:
    """As byte-level tokenizers decode: the space is a part of the token."""
    _, made = tiny_family("qwen2_vl")
    ids = made.tokenizer.convert_tokens_to_ids(["A", " ", "B", "\n"])
    assert match_tokens("released", made, ids, ["A B", "B C", "CB"], row_of(3)) == [0, None, None, None]
    assert match_tokens("released", made, ids, ["A B", "CD"], row_of(2)) == [0, 0, 0, None]
    assert match_tokens("stripped", made, ids, ["A B", "CD"], row_of(2)) == [0, None, 0, None]


def test_spans_cover_the_text_where_tokens_alone_do_not_join_to_it() -> None:
    """SentencePiece: a piece alone loses its space; a character of two byte tokens belongs to the second."""
    made = sentencepiece()
    assert "".join(made.decode([i]) for i in (1, 2)) != made.decode([1, 2])
    text, spans = token_spans(made, [1, 2, 3, 4, 5, 0, 2])
    assert text == "AB CD\u00e9 C"
    assert [text[a:b] for a, b in spans] == ["AB", " C", "D", "", "\u00e9", "", " C"]
    named = SimpleNamespace(tokenizer=made)
    assert match_tokens("exact", named, [1, 2, 3, 4, 5, 0, 2], ["AB", "CD\u00e9", "C"], row_of(3)) == [
        *(0, 1, 1, None, 1, None, 2),
    ]


@given(st.lists(st.integers(5, 100), max_size=30))
@settings(deadline=None)
def test_spans_of_a_character_tokenizer_are_its_characters(ids: list[int]) -> None:
    text, spans = token_spans(tokenizer(), ids)
    assert spans == each_character(text)
    assert len(text) == len(ids)


def test_a_long_answer_is_aligned_in_one_go() -> None:
    rng = random.Random(0)
    words = [rng.choice(["ALPHA", "BETA", "GAMMA", "12"]) for _ in range(800)]
    text = " ".join(words)
    assert match_exact(text, each_character(text), words, row_of(800)) == owners_of(words)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_every_named_rule_matches_a_word_that_comes_once(matching: str) -> None:
    ids = tokenizer().encode("AB")
    assert match_tokens(matching, processor(), ids, ["AB", "CD"], row_of(2)) == [0, 0]
    assert match_tokens(matching, processor(), [], ["AB"], row_of(1)) == []


def test_an_unknown_rule_is_one_line() -> None:
    with pytest.raises(
        InputError, match=r"scoring\.matching: 'fuzzy' is unknown; use stripped or released or exact"
    ):
        match_tokens("fuzzy", processor(), [], [], [])
