"""TextCaps: the text asked, and CIDEr over the captions of the run, with and without its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sparsemm.benchmarks import get_benchmark, score_rows, task_text, textcaps
from sparsemm.benchmarks.metric import RunMetric, Unit
from sparsemm.errors import InputError
from sparsemm.metrics import captions

ROWS = [{"image_id": str(i), "caption_str": [f"a bus {i}", "a red bus"]} for i in range(2)]


def test_the_question_is_not_asked() -> None:
    for rules in ("paper", "current"):
        text = task_text("textcaps", {"question": "?"}, rules=rules)
        assert text == "Provide a one-sentence caption for the provided image."


def test_a_unit_is_a_caption_and_the_run_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        assert predictions == ["a bus", ""]
        assert references == [row["caption_str"] for row in ROWS]
        return 4.5, [9.0, 0.0]

    monkeypatch.setattr(textcaps, "cider", cider)
    monkeypatch.setattr(textcaps, "cider_lacks", lambda: None)
    for rules in ("paper", "current"):
        assert score_rows("textcaps", ROWS, [" a bus\n", ""], rules=rules) == ([None, None], 4.5)
    metric = get_benchmark("textcaps").rules["paper"]
    assert isinstance(metric, RunMetric)
    assert metric.score(ROWS, ["a bus", ""]) == [Unit(0, 9.0), Unit(1, 0.0)]
    assert metric.top == 10.0


def test_without_the_tokenizer_units_have_no_score_and_score_rows_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark = get_benchmark("textcaps")
    monkeypatch.setattr(captions.importlib, "import_module", lambda name: object())
    monkeypatch.setattr(captions.shutil, "which", lambda name: None)
    metric = benchmark.rules["paper"]
    assert isinstance(metric, RunMetric)
    assert metric.score(ROWS, ["a", "b"]) == [Unit(0, None), Unit(1, None)]
    assert metric.lacks() == "Java is missing, its PTB tokenizer runs on it: install a Java runtime"
    with pytest.raises(InputError, match=r"^benchmarks\.textcaps: no score: Java is missing.*install"):
        score_rows(benchmark, ROWS, ["a", "b"])
    with pytest.raises(InputError, match="lacks the column 'caption_str'"):
        score_rows(benchmark, [{}], ["a"])
