"""The synthetic benchmarks: samples from seeds, shards that tile, pages drawn once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from sparsemm.benchmarks import Benchmark, get_benchmark, score_rows, synthetic, task_text
from sparsemm.benchmarks.base import shard_indices
from sparsemm.documents.pages import Document
from sparsemm.errors import InputError

# Of the first samples as they were when the shipped model was trained and measured.
SAMPLES = {
    "synth-docvqa": "ae4ff20792121c729b0925c2de57f6e9248f05ce1696c0e9064695603501a787",
    "synth-ocr": "76ef9a0122bcbed1ffe78148fab6c4e430ef4d3230f3d31e50a885d8c2fd103f",
    "synth-chart": "f3b8f6a9dca2cf4919a621a3215d110193143c129cd80d198f2c7255422270a3",
}
SYNTHETIC = list(SAMPLES)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_samples_stay_what_they_were(name: str) -> None:
    digest = hashlib.sha256()
    for sample in get_benchmark(name).load(6, seed=0):
        image = sample.image.open()
        known = (sample.id, sample.image_id, sample.answers, dict(sample.data), image.size)
        digest.update(repr(known).encode() + image.tobytes())
    assert digest.hexdigest() == SAMPLES[name]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_samples_depend_on_seed_and_index_alone(name: str) -> None:
    benchmark = get_benchmark(name)
    assert isinstance(benchmark, Benchmark)
    whole = list(benchmark.load(5, seed=3))
    parts = [s for shard in range(3) for s in benchmark.load(5, seed=3, shard=shard, shards=3)]
    assert whole == parts  # images are not compared by ==
    assert all(
        np.array_equal(np.asarray(a.image.open()), np.asarray(b.image.open()))
        for a, b in zip(whole, parts, strict=True)
    )
    assert all(sample.image_id == sample.id for sample in whole)  # one question an image
    assert [s.id for s in whole] == sorted(s.id for s in whole)
    other = list(benchmark.load(5, seed=4))
    assert [s.answers for s in other] != [s.answers for s in whole]
    longer = list(benchmark.load(9, seed=3))[:5]
    assert longer == whole


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_answer_scores_one_and_nothing_scores_zero(name: str) -> None:
    benchmark = get_benchmark(name)
    for sample in benchmark.load(3, seed=0):
        for rules in ("paper", "current"):
            rows = [sample.data] * 2
            assert score_rows(name, rows, [sample.answers[0], "?"], rules=rules) == ([1.0, 0.0], 0.5)
            assert task_text(name, sample.data, rules=rules) == benchmark.prompt(sample.data, "llava_next")
        assert sample.data["answers"] == list(sample.answers)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_page_is_drawn_once_and_one_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = synthetic.generate_document, []

    def counting(*arguments: Any, **options: Any) -> Document:
        drawn.append(real(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(synthetic, "generate_document", counting)
    loading = get_benchmark(name).load(3, seed=0)
    assert not drawn
    first = next(loading)
    assert len(drawn) == 1
    for sample in (first, *loading):
        for _ in range(2):
            assert np.array_equal(np.asarray(sample.image.open()), np.asarray(drawn[0].image))
            assert sample.image.open().mode == drawn[0].image.mode == "RGB"
        assert sample.image.size == drawn.pop(0).image.size
    assert not drawn


@pytest.mark.parametrize("name", ["synth-docvqa", "synth-chart", "docs-vqa", "docs-chart"])
def test_several_questions_are_asked_about_a_page(name: str) -> None:
    asked = list(get_benchmark(name, questions=4).load(12, seed=0))
    alone = list(get_benchmark(name, questions=1).load(3, seed=0))
    pages: dict[str, list[Any]] = {}
    for sample in asked:
        pages.setdefault(sample.image_id, []).append(sample)
    assert list(pages) == [sample.image_id for sample in alone]
    for first, samples in zip(alone, pages.values(), strict=True):
        assert 2 <= len(samples) <= 4
        assert len({sample.data["question"] for sample in samples}) == len(samples)
        assert samples[0].data == first.data
        assert len({sample.id for sample in samples}) == len(samples)


@pytest.mark.parametrize(("name", "number"), [("synth-ocr", 2), ("docs-ocr", 3), ("synth-docvqa", 0)])
def test_questions_that_cannot_be_asked_are_refused(name: str, number: int) -> None:
    with pytest.raises(InputError, match=f"benchmarks.{name}.questions: {number} cannot be asked; "):
        get_benchmark(name, questions=number)
    with pytest.raises(InputError, match=r"benchmarks\.gqa\.questions: they come with the data set"):
        get_benchmark("gqa", questions=number)


def test_synth_ocr_accepts_the_whole_page() -> None:
    sample = next(iter(get_benchmark("synth-ocr").load(1, seed=0)))
    page = f"ABC 1234\nDEF {sample.answers[0]}\nXYZ 9"
    assert score_rows("synth-ocr", [sample.data], [page]) == ([1.0], 1.0)


def test_relaxed_accuracy_forgives_five_percent() -> None:
    sample = next(iter(get_benchmark("synth-chart").load(1, seed=0)))
    value = float(sample.answers[0])
    rows, answers = [sample.data] * 2, [f"{value * 1.04}", f"{value * 1.06}"]
    assert score_rows("synth-chart", rows, answers) == ([1.0, 0.0], 0.5)


@pytest.mark.parametrize(("count", "shards"), [(10, 3), (2, 4), (7, 7), (500, 4)])
def test_shards_tile_the_samples(count: int, shards: int) -> None:
    pieces = [shard_indices(count, shard, shards) for shard in range(shards)]
    assert [i for piece in pieces for i in piece] == list(range(count))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(("shard", "shards"), [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_out_of_range_is_refused(shard: int, shards: int) -> None:
    with pytest.raises(InputError, match="shard"):
        list(get_benchmark("synth-docvqa").load(10, 0, shard=shard, shards=shards))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_drawn_documents_have_no_end(name: str) -> None:
    with pytest.raises(InputError, match=rf"^benchmarks\.{name}\.samples: .*give a number"):
        get_benchmark(name).load(None, 0)
