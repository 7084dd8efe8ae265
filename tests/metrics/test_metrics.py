"""Golden cases of the benchmarks' metrics, and ANLS against the textbook table of the edit distance."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemm.errors import InputError
from sparsemm.metrics import (
    anls,
    captions,
    cider,
    contains_accuracy,
    eval_ai,
    relaxed_accuracy,
    vqa_accuracy,
    vqav2_accuracy,
)


def table_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def table_anls(a: str, b: str) -> float:
    distance = table_distance(" ".join(a.split()), " ".join(b.split()))
    similarity = 1.0 - (distance / max(len(a), len(b)) if a or b else 0.0)
    return similarity if similarity >= 0.5 else 0.0


@given(st.text(alphabet="abcé ", max_size=80), st.text(alphabet="abcé ", max_size=80))
def test_anls_is_one_minus_the_normalised_edit_distance(a: str, b: str) -> None:
    assert anls(a, [b]) == table_anls(a, b)


@given(st.text(alphabet="abcé ", max_size=80), st.data())
def test_anls_of_a_text_with_a_few_edits(text: str, data: st.DataObject) -> None:
    changed = list(text)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(changed)))
        changed[place : place + data.draw(st.integers(0, 1))] = data.draw(
            st.text(alphabet="abcé", max_size=1)
        )
    assert anls(text, ["".join(changed)]) == table_anls(text, "".join(changed))


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("hello", ["hello"], 1.0),
        ("  HeLLo \n world ", ["hello world"], 1.0),
        ("", [""], 1.0),
        ("", ["abc"], 0.0),
        ("abcd", ["abce"], 0.75),
        ("ab", ["cd", "abx"], 2 / 3),
        ("ab", ["bc"], 0.0),
        ("ab", ["ax"], 0.5),  # exactly the threshold counts
        ("abc", ["axy"], 0.0),
        ("ab  cd", ["ab cx"], 1 - 1 / 6),  # divided by the raw length
        ("   ", [""], 1.0),
    ],
)
def test_anls(prediction: str, answers: list[str], score: float) -> None:
    assert anls(prediction, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("prediction", "answers", "dataset", "score"),
    [
        ("The sign says STOP.", ["stop"], "", 1.0),
        ("stop", ["stop sign"], "", 0.0),
        ("line one\nline two", ["one line"], "", 1.0),
        ("ＡＢＣ１２３", ["abc123"], "", 1.0),
        ("abc123", ["ＡＢＣ１２３"], "", 1.0),
        ("x", ["y", "X"], "", 1.0),
        (r"\frac { a } { b }", [r"\frac{a}{b}"], "HME100k", 1.0),
        (r"\frac { A } { b }", [r"\frac{a}{b}"], "HME100k", 0.0),
        ("a\nb", ["ab"], "HME100k", 1.0),
        ("a b", ["ab"], "IIIT5K", 0.0),
    ],
)
def test_contains_accuracy(prediction: str, answers: list[str], dataset: str, score: float) -> None:
    assert contains_accuracy(prediction, answers, dataset) == score
    assert contains_accuracy(prediction, answers, dataset=dataset) == score


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("The Dog", "dog"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("Ten", "10"),
        ("eleven", "eleven"),
        ("it's", "it 's"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ("yalld've", "yalld've"),
        ("y'alld've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("oclock", "o'clock"),
        ("lets", "lets"),
        ("shes", "shes"),
        ("Im", "im"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("a.b", "ab"),
        ("10.", "10"),
        ("yes/no", "yes no"),
        ("yes / no", "yes no"),
        ("well-known", "well known"),
        ("well -known", "well known"),
        ("x\ny\tz", "x y z"),
        ("what?", "what"),
        ('"quoted"', "quoted"),
    ],
)
def test_answer_processor(text: str, clean: str) -> None:
    assert eval_ai(text) == clean


def test_vqa_accuracy_is_the_mean_over_leave_one_out_sets() -> None:
    answers = ["cat"] * 4 + ["dog"] * 3 + ["cow"] * 2 + ["ant"]
    assert vqa_accuracy("Cat.", answers) == 1.0
    # three "dog": left out one of them 2/3, otherwise 1
    assert vqa_accuracy("the dog", answers) == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert vqa_accuracy("cow", answers) == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    assert vqa_accuracy("ant", answers) == pytest.approx(9 * (1 / 3) / 10)
    assert vqa_accuracy("bee", answers) == 0.0


def test_vqav2_accuracy_cleans_both_sides_and_counts_equal_answers_apart() -> None:
    assert vqav2_accuracy("Two\n", ["2"] * 10) == 1.0
    assert vqav2_accuracy("the net", ["net"] * 3 + ["x"] * 7) == pytest.approx((3 * 2 / 3 + 7) / 10)
    # it's stays one word here, where the TextVQA processor parts it
    assert vqav2_accuracy("it's", ["it's"] * 10) == 1.0
    assert vqav2_accuracy("dont", ["don't"] * 10) == 1.0


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("105", "100", 1.0),
        ("95", "100", 1.0),
        ("105.1", "100", 0.0),
        ("-10", "10", 0.0),
        ("-10", "-10.4", 1.0),
        ("50%", "0.5", 1.0),
        ("50%", "50", 0.0),
        ("0", "0", 1.0),
        ("0.0", "0", 0.0),
        ("Yes", "yes", 1.0),
        ("10 cats", "10", 0.0),
        ("abc", "10", 0.0),
        ("%", "%", 1.0),
        ("", "5", 0.0),
    ],
)
def test_relaxed_accuracy(prediction: str, target: str, score: float) -> None:
    assert relaxed_accuracy(prediction, target) == score


@pytest.mark.parametrize("metric", [anls, contains_accuracy, vqa_accuracy, vqav2_accuracy])
def test_answers_must_be_a_list(metric) -> None:
    with pytest.raises(InputError, match="give a list"):
        metric("a", "a")
    with pytest.raises(InputError, match="empty"):
        metric("a", [])


def test_cider_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(captions.importlib, "import_module", missing)
    with pytest.raises(InputError, match="pycocoevalcap is missing"):
        cider(["a"], [["a"]])
    monkeypatch.setattr(captions.importlib, "import_module", lambda name: object())
    monkeypatch.setattr(captions.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="Java is missing"):
        cider(["a"], [["a"]])
    with pytest.raises(InputError, match="1 captions for 2"):
        cider(["a"], [["a"], ["b"]])


@pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None or shutil.which("java") is None,
    reason="CIDEr needs pycocoevalcap and Java",
)
def test_cider() -> None:
    references = [
        ["a red bus on a street", "the red bus\ndrives"],
        ["two dogs play in the snow", "dogs in snow"],
    ]
    corpus, each = cider(["a red bus on a street", "a bowl of soup"], references)
    assert len(each) == 2
    assert each[0] > 1 > each[1]
    assert corpus == pytest.approx(sum(each) / 2)
