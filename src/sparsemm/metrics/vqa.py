"""VQA accuracy: the EvalAI answer processor, and agreement with ten annotators (TextVQA, VQAv2)."""

from __future__ import annotations

import functools
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sparsemm.errors import InputError
from sparsemm.metrics.answers import checked_answer, checked_answers, one_line

# EvalAI answer processor (VQA evaluation code). A contraction that lost one of its apostrophes gets it back.
# "somebody'd" -> "somebodyd" is an error of the original table, kept for equal scores; its keys with capitals are left
# out: the text is lower-cased before it is looked up.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
    they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
    when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
    would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_APOSTROPHES = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTIONS.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),+(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = int(re.UNICODE)  # the original passes this flag where the count goes; kept for equal scores


_CACHED = 1 << 14  # one row is scored in many cells, and its answers are the same in all


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """TextVQA accuracy: mean over leave-one-out sets of min(1, matches / 3), by EvalAI-processed text."""
    given = [eval_ai(answer) for answer in checked_answers(answers)]
    return _agreement(eval_ai(prediction), given, range(len(given)))


def vqav2_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """VQAv2 accuracy: as vqa_accuracy with that benchmark's cleaning; equal answers of two annotators count apart."""
    given = [_clean(_stripped(answer)) for answer in checked_answers(answers)]
    return _agreement(_clean(_stripped(prediction)), given, range(len(given)))


def vqav2_row_accuracy(
    prediction: str, answers: Sequence[Mapping[str, Any]], *, rules: str = "paper"
) -> float:
    """VQAv2 accuracy of a row as a rule set scores it; answers are the data set's dicts.

    The other annotators of an answer are those whose dict differs from its own. "current" cleans both sides alike.
    "paper" puts the prediction through the EvalAI processor, and both sides through the cleaning only where the
    annotators differ.

    Raises:
        InputError: for no answers, or answers that are no dicts.
    """
    if answers is None or isinstance(answers, str) or not len(answers):
        raise InputError("answers is empty or no list: a sample needs at least one answer")
    if not all(isinstance(each, Mapping) for each in answers):
        raise InputError(
            "answers holds what is no dict: give the data set's answer, answer_confidence, answer_id"
        )
    given = [_stripped(checked_answer(each["answer"])) for each in answers]
    said = eval_ai(prediction) if rules == "paper" else _stripped(prediction)
    if rules != "paper" or len(set(given)) > 1:
        given = [_clean(answer) for answer in given]
        said = _clean(said)
    return _agreement(said, given, [{**each, "answer": answer} for each, answer in zip(answers, given)])


@functools.lru_cache(_CACHED)
def eval_ai(text: str) -> str:
    """The EvalAI answer processor: lower case, punctuation, number words, articles, contractions."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _digits_and_articles(_without_punctuation(_stripped(text)))


@functools.lru_cache(_CACHED)
def _clean(text: str) -> str:
    return _digits_and_articles(_without_punctuation(text))


def _stripped(text: str) -> str:
    return one_line(text).strip()


def _without_punctuation(text: str) -> str:
    """Remove a mark that touches a space anywhere, or any mark if the text has a 1,000; else make it a space."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    clean = text
    for mark in _PUNCTUATION:
        touches = mark + " " in text or " " + mark in text
        clean = clean.replace(mark, "" if touches or number else " ")
    return _PERIOD.sub("", clean, count=_MAX_PERIODS)


def _digits_and_articles(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def _agreement(prediction: str, answers: Sequence[str], annotators: Sequence[Any]) -> float:
    """Mean of min(1, matches / 3), the matches of an annotator being among those that are not equal to it."""
    scores = []
    for own in annotators:
        matches = sum(text == prediction and other != own for text, other in zip(answers, annotators))
        scores.append(min(1.0, matches / 3))
    return float(statistics.mean(scores))
