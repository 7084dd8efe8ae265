"""Metrics that compare an answer with its targets as strings: ANLS, contains-accuracy, relaxed accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from sparsemm.metrics.answers import checked_answers

# Full-width ASCII (U+FF01 to U+FF5E) and the ideographic space.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def anls(prediction: str, answers: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one sample (DocVQA): best answer, 0 below 0.5.

    Strings are compared lower-cased with white space collapsed; the distance is divided by the length of the longer
    raw string.
    """
    worst = []
    for answer in checked_answers(answers):
        longest = max(len(prediction), len(answer))
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


def relaxed_accuracy(prediction: str, target: str) -> float:
    """ChartQA: numbers within 5 % of the target (trailing %: divided by 100), other text equal up to case."""
    predicted, wanted = _number(prediction), _number(target)
    if predicted is not None and wanted:  # a target of 0 has no relative error: compared as text
        return float(abs(predicted - wanted) / abs(wanted) <= 0.05)
    return float(prediction.lower() == target.lower())


def _plain(text: str) -> str:
    return text.translate(_FULL_WIDTH).lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.translate(_FULL_WIDTH).strip().replace("\n", " ").replace(" ", "")


def _collapsed(text: str) -> str:
    return " ".join(text.lower().split())


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
