"""What a configuration names of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsemm.benchmarks.named import named_sources, samples_for
from sparsemm.sources.obtain import Wanted


def test_models_data_sets_and_probe_set_that_have_an_id() -> None:
    models = {"a": {"path": "x"}, "b": {"path": "y", "hub": "some/model", "revision": "v1"}}
    benchmarks = {"synth-ocr": {}, "gqa": {"hub": ["my/gqa"]}, "docvqa": {"revision": "v2"}}
    named = named_sources(models, benchmarks, {"source": "x", "hub": "some/probe"})
    assert [(each.key, each.wanted) for each in named] == [
        ("models.b", Wanted("model", ("some/model",), "v1")),
        ("benchmarks.gqa", Wanted("dataset", ("my/gqa",), "main")),
        ("benchmarks.docvqa", Wanted("dataset", ("lmms-lab/DocVQA", "lmms-lab-encoder/DocVQA"), "v2")),
        ("probe", Wanted("dataset", ("some/probe",), "main")),
    ]
    assert [len(each.parts) for each in named] == [0, 2, 1, 1]
    assert named_sources({}, {"synth-ocr": {}}, {"source": "generated"}) == []


def test_what_is_there_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (
        {"own": {"path": "own", "hub": "a/b"}, "other": {"path": "other", "hub": "a/c"}},
        {"docvqa": {}},
        {"source": "probe", "hub": "a/probe"},
    )
    assert not any(each.there for each in named_sources(*arguments))
    Path("own").mkdir()
    Path("probe").mkdir()
    Path("data/benchmarks/docvqa").mkdir(parents=True)
    Path("data/benchmarks/docvqa/index.parquet").touch()
    assert [each.there for each in named_sources(*arguments)] == [True, False, True, True]


@pytest.mark.parametrize(
    ("of_benchmark", "of_model", "asked"),
    [("all", None, "all"), (500, None, 500), (500, 60, 60), (40, 60, 40), ("all", 60, 60)],
)
def test_a_model_is_asked_the_fewer_of_both_numbers(
    of_benchmark: int | str, of_model: int | None, asked: int | str
) -> None:
    model = {} if of_model is None else {"samples": of_model}
    assert samples_for({"samples": of_benchmark}, model) == asked
