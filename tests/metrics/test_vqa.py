"""The EvalAI processor to the letter: marks, periods, words, contractions."""

from __future__ import annotations

import pytest

from sparsemm.metrics import eval_ai, vqav2_accuracy


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("DOG", "dog"),
        ("a,b?c", "abc"),  # dropped, not made spaces
        ("the dog's", "dog 's"),
        ("DOG'S", "dog 's"),
        ("x\ty\nz", "x y z"),
        ("x\ry", "x y"),  # white space that is left parts words
        # A mark becomes a space, or goes if it touches a space anywhere in the text.
        ("yes/no", "yes no"),
        ("yes/no /", "yesno"),
        ("x-y - z", "xy z"),
        ("x-y/z - w", "xy z w"),  # each mark by itself
        ("(x)", "x"),
        ("x; y:z", "x y:z"),  # a colon is no such mark
        ("x`y@z", "x y z"),
        ("don't", "don't"),
        # Periods go unless a digit follows.
        ("3.5.", "3.5"),
        ("a.5", "a.5"),
        ("U.S.A.", "usa"),
        ("." * 32 + "x", "x"),
        ("." * 34 + "x", "..x"),  # the first 32 of them
        # Words.
        ("none of the ten an eleven", "0 of 10 eleven"),
        ("zero-one", "0 1"),
        ("The", ""),
        ("Ive", "ive"),  # keys with capitals never match
        ("im", "im"),
        ("somebody'd", "somebodyd"),
        ("shes", "shes"),
        ("its", "its"),
        ("ow's'at", "ow 's'at"),
        ("'ows'at", "'ow's'at"),
    ],
)
def test_eval_ai(text: str, clean: str) -> None:
    assert eval_ai(text) == clean


@pytest.mark.parametrize(
    ("prediction", "answer", "score"),
    [
        ("1,000 - x", "1000 x", 1.0),
        ("a-b 1,000", "ab 1000", 1.0),  # a comma between digits: every mark goes
        ("1, 000", "1 000", 1.0),
        ("ow's'at", "'ow's'at", 1.0),
        ("dogs,cats", "dogs cats", 1.0),
        ("dogs,cats", "dogscats", 0.0),
    ],
)
def test_vqav2_cleaning(prediction: str, answer: str, score: float) -> None:
    assert vqav2_accuracy(prediction, [answer] * 10) == score
