"""Metrics that compare an answer with its targets as strings: ANLS, containing, relaxed and exact accuracy."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from sparsemm.metrics.answers import checked_answer, checked_answers

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Full-width ASCII (U+FF01 to U+FF5E) and the ideographic space.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def anls(prediction: str, answers: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one sample (DocVQA): best answer, 0 below 0.5.

    Strings are compared lower-cased with white space collapsed; the distance is divided by the length of the longer
    raw string, upper-cased as in the original ("ß" counts as two letters).
    """
    worst = []
    for answer in checked_answers(answers):
        longest = max(len(answer.upper()), len(prediction.upper()))
        distance = Levenshtein.distance(_collapsed(prediction), _collapsed(answer))
        worst.append(distance / longest if longest else 0.0)
    similarity = 1.0 - min(worst)
    return similarity if similarity >= 0.5 else 0.0


def contains_accuracy(prediction: str, answers: Sequence[str], dataset: str = "") -> float:
    """1.0 if any answer is a substring of the prediction (OCRBench), else 0.0.

    Case is ignored and newlines are spaces; for dataset "HME100k" (formulas) case counts and spaces do not.
    """
    clean: Callable[[str], str] = _formula if dataset == "HME100k" else _plain
    return float(any(clean(answer) in clean(prediction) for answer in checked_answers(answers)))


def ocrbench_accuracy(
    prediction: str, answers: str | Sequence[str], dataset: str, *, rules: str = "paper"
) -> float:
    """OCRBench as a rule set scores it: 1.0 if any answer is a substring of the prediction, else 0.0.

    Case is ignored and newlines are spaces; "current" also folds full-width characters. For dataset "HME100k"
    (formulas) spaces are left out and the answer keeps its case: "paper" lower-cases the prediction all the same, so
    that an answer with a capital never matches; "current" does not.
    """
    given = [answers] if isinstance(answers, str) else checked_answers(answers)
    said = prediction.lower() if rules == "paper" else prediction
    if dataset == "HME100k":
        return float(any(_spaceless(answer) in _spaceless(said) for answer in given))
    clean = _lower_line if rules == "paper" else _plain
    return float(any(clean(answer) in clean(said) for answer in given))


def exact_accuracy(prediction: str, target: str) -> float:
    """GQA: equal in lower case without ASCII punctuation; articles and spaces count."""
    plain = [text.lower().translate(_NO_PUNCTUATION) for text in (prediction, checked_answer(target))]
    return float(plain[0] == plain[1])


def relaxed_accuracy(prediction: str, target: str) -> float:
    """ChartQA: numbers within 5 % of the target (trailing %: divided by 100), other text equal up to case.

    A number is what `float` takes: "1e3", "1_000" and "nan" are numbers, "1,000" and "$5" are text.
    """
    predicted, wanted = _number(prediction), _number(checked_answer(target))
    if predicted is not None and wanted:  # a target of 0 has no relative error: compared as text
        return float(abs(predicted - wanted) / abs(wanted) <= 0.05)
    return float(prediction.lower() == target.lower())


def _lower_line(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _spaceless(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def _plain(text: str) -> str:
    return _lower_line(text.translate(_FULL_WIDTH))


def _formula(text: str) -> str:
    return _spaceless(text.translate(_FULL_WIDTH))


def _collapsed(text: str) -> str:
    return " ".join(text.lower().split())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
