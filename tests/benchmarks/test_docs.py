"""The benchmarks of richer pages: questions about one image together, faces seen and held out, metrics."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest

from sparsemm.benchmarks import Benchmark, Sample, get_benchmark, score_rows
from sparsemm.benchmarks import synthetic as module
from sparsemm.documents.fonts import fonts
from sparsemm.documents.pages import READ_PROMPT

NAMES = ["docs-vqa", "docs-ocr", "docs-chart"]
ALL = [name + ending for name in NAMES for ending in ("", "-unseen")]
QUESTIONS = {"docs-vqa": 2, "docs-ocr": 1, "docs-chart": 2}


def load(name: str, count: int, **options: int) -> list[Sample]:
    return list(get_benchmark(name).load(count, **{"seed": 3, **options}))


@pytest.mark.parametrize("name", ALL)
def test_samples_depend_on_seed_and_index_alone(name: str) -> None:
    assert isinstance(get_benchmark(name), Benchmark)
    whole = load(name, 7)
    assert [sample for shard in range(3) for sample in load(name, 7, shard=shard, shards=3)] == whole
    assert load(name, 9)[:7] == whole
    assert [s.answers for s in load(name, 7, seed=4)] != [s.answers for s in whole]
    assert [s.id for s in whole] == sorted({s.id for s in whole})
    assert len(whole) == 7


@pytest.mark.parametrize("name", ALL)
def test_questions_about_one_image_stand_together_in_one_shard(name: str) -> None:
    each = QUESTIONS[name.removesuffix("-unseen")]
    groups = [list(group) for _, group in groupby(load(name, 8), key=lambda sample: sample.image_id)]
    assert [len(group) for group in groups] == [each] * (8 // each)
    for group in groups:
        assert len({sample.data["question"] for sample in group}) == each
        assert len({sample.image.digest for sample in group}) == 1
    shards = [{s.image_id for s in load(name, 7, shard=shard, shards=3)} for shard in range(3)]
    assert all(a.isdisjoint(b) for a, b in pairwise(shards))


@pytest.mark.parametrize("name", ALL)
def test_the_answer_scores_one_and_nothing_scores_zero(name: str) -> None:
    for sample in load(name, 4):
        rows = [sample.data] * 2
        assert score_rows(name, rows, [sample.answers[0], "~"]) == ([1.0, 0.0], 0.5)
        assert sample.data["answers"] == list(sample.answers)


@pytest.mark.parametrize("name", ALL)
def test_faces_are_of_the_group_and_pages_of_the_split(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, drawn = module.generate_rich, []

    def noting(*arguments: object, **options: object) -> object:
        assert options["split"] == "eval"
        drawn.append(real(*arguments, **options))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(module, "generate_rich", noting)
    samples = load(name, 24)
    group = "held-out" if name.endswith("-unseen") else "train"
    assert {document.font for document in drawn} <= {font.name for font in fonts(group)}
    kinds = {"docs-vqa": {"form", "receipt", "table", "sign"}, "docs-ocr": {"text"}, "docs-chart": {"chart"}}
    assert {document.kind for document in drawn} == kinds[name.removesuffix("-unseen")]
    assert np.array_equal(np.asarray(samples[0].image.open()), np.asarray(drawn[0].image))


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_stays_short(name: str) -> None:
    """At most 900 tokens: base image, a newline token a row, and about 40 tokens of text."""
    for sample in load(name, 12):
        width, height = sample.image.size
        assert 144 + height // 8 * (width // 8 + 1) + 60 <= 900
        assert len(sample.data["question"]) < 80
        assert len(sample.answers[0]) <= get_benchmark(name).generation("llava_next").max_new_tokens


def test_metrics_are_those_of_the_kind() -> None:
    row = {"question": "?", "answers": ["Anna Berg"]}
    assert score_rows("docs-vqa", [row], ["anna Berk"])[1] == pytest.approx(8 / 9)
    assert (
        score_rows("docs-ocr-unseen", [{**row, "answers": ["We meet\nat 7:00."]}], ["We meet at 7:00."])[1]
        == 1
    )
    numbers = {**row, "answers": ["100"]}
    assert score_rows("docs-chart", [numbers] * 3, ["104", "106", "Mon"]) == ([1.0, 0.0, 0.0], 1 / 3)
    assert score_rows("docs-chart", [{**row, "answers": ["Mon"]}], ["mon"])[1] == 1
    assert {s.data["question"] for s in load("docs-ocr", 3)} == {READ_PROMPT}
