"""The benchmarks' metrics as pure functions of strings; scores lie in 0 to 1 (CIDEr: 0 to 10)."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from sparsemm.errors import InputError

# EvalAI answer processor (VQA evaluation code; TextVQA and VQAv2 use it). A contraction that lost one of its
# apostrophes is given it back. "somebody'd" -> "somebodyd" is an oddity of the original table, kept for equal
# scores;
# its keys with capitals are left out: the text is lower-cased before it is looked up.
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

# Full-width ASCII (U+FF01 to U+FF5E) and the ideographic space.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def levenshtein(a: str, b: str) -> int:
    """Edit distance, by Hyyrö's bit-parallel method: one column of the table is two Python integers."""
    if not a or not b:
        return len(a) or len(b)
    where: dict[str, int] = {}
    for place, letter in enumerate(a):
        where[letter] = where.get(letter, 0) | 1 << place
    up, down, distance = (1 << len(a)) - 1, 0, len(a)
    everything, last = up, 1 << len(a) - 1
    for letter in b:
        match = where.get(letter, 0)
        zero = (((match & up) + up) ^ up) | match | down
        right, left = down | (everything & ~(zero | up)), up & zero
        distance += bool(right & last) - bool(left & last)
        right, left = right << 1 | 1, left << 1
        up, down = (left | ~(zero | right)) & everything, right & zero & everything
    return distance


def anls(prediction: str, answers: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one sample (DocVQA): best answer, 0 below 0.5.

    Strings are compared lower-cased with white space collapsed, the length that divides is that of the raw
    strings.
    """
    worst = []
    for answer in _some(answers):
        longest = max(len(prediction), len(answer))
        distance = levenshtein(_collapsed(prediction), _collapsed(answer))
        worst.append(distance / longest if longest else 0.0)
    similarity = 1.0 - min(worst)
    return similarity if similarity >= 0.5 else 0.0


def contains_accuracy(prediction: str, answers: Sequence[str], dataset: str = "") -> float:
    """1.0 if any answer is a substring of the prediction (OCRBench), else 0.0.

    Case is ignored and newlines are spaces; for dataset "HME100k" (formulas) case counts and spaces do not.
    """
    clean: Callable[[str], str] = _formula if dataset == "HME100k" else _plain
    return float(any(clean(answer) in clean(prediction) for answer in _some(answers)))


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """TextVQA accuracy: mean over leave-one-out sets of min(1, matches / 3), by EvalAI-processed text."""
    return _leave_one_out(eval_ai(prediction), [eval_ai(answer) for answer in _some(answers)])


def vqav2_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """VQAv2 accuracy: as vqa_accuracy with that benchmark's cleaning; answers differ by their place."""
    return _leave_one_out(_vqav2(prediction), [_vqav2(answer) for answer in _some(answers)])


def relaxed_accuracy(prediction: str, target: str) -> float:
    """ChartQA: numbers within 5 % of the target (trailing %: divided by 100), other text equal up to case."""
    predicted, wanted = _number(prediction), _number(target)
    if predicted is not None and wanted:  # a target of 0 has no relative error: compared as text
        return float(abs(predicted - wanted) / abs(wanted) <= 0.05)
    return float(prediction.lower() == target.lower())


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """(corpus, per caption) CIDEr-D over PTB tokens (TextCaps), 0 to 10.

    Needs the package pycocoevalcap and Java (its tokenizer is a Java program); InputError says which is
    missing.
    """
    if len(predictions) != len(references) or not predictions:
        raise InputError(
            f"cider: {len(predictions)} captions for {len(references)} references: give one set each"
        )
    try:
        tokenizer: Any = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
        scorer: Any = importlib.import_module("pycocoevalcap.cider.cider")
    except ImportError as error:
        raise InputError("cider: the package pycocoevalcap is missing: pip install pycocoevalcap") from error
    if shutil.which("java") is None:
        raise InputError("cider: Java is missing, its PTB tokenizer runs on it: install a Java runtime")
    words = tokenizer.PTBTokenizer()
    captions = {i: [{"caption": _line(text)}] for i, text in enumerate(predictions)}
    targets = {i: [{"caption": _line(text)} for text in _some(texts)] for i, texts in enumerate(references)}
    corpus, each = scorer.Cider().compute_score(words.tokenize(targets), words.tokenize(captions))
    return float(corpus), [float(score) for score in each]


def eval_ai(text: str) -> str:
    """The EvalAI answer processor: lower case, punctuation, number words, articles, contractions."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _digits_and_articles(_without_punctuation(_line(text).strip()))


def _vqav2(text: str) -> str:
    return _digits_and_articles(_without_punctuation(_line(text).strip()))


def _without_punctuation(text: str) -> str:
    """A mark goes if it touches a space anywhere or the text has a 1,000; otherwise it becomes a space."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    clean = text
    for mark in _PUNCTUATION:
        touches = mark + " " in text or " " + mark in text
        clean = clean.replace(mark, "" if touches or number else " ")
    return _PERIOD.sub("", clean, count=_MAX_PERIODS)


def _digits_and_articles(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def _leave_one_out(prediction: str, answers: list[str]) -> float:
    total = answers.count(prediction)
    return sum(min(1.0, (total - (answer == prediction)) / 3) for answer in answers) / len(answers)


def _plain(text: str) -> str:
    return text.translate(_FULL_WIDTH).lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.translate(_FULL_WIDTH).strip().replace("\n", " ").replace(" ", "")


def _collapsed(text: str) -> str:
    return " ".join(text.lower().split())


def _line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ")


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _some(answers: Sequence[str]) -> Sequence[str]:
    if isinstance(answers, str):
        raise InputError(f"answers is the string {answers!r}: give a list of strings")
    if not answers:
        raise InputError("answers is empty: a sample needs at least one answer")
    return answers
