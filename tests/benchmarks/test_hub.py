"""What the hub's benchmarks share: samples from stored rows, lengths and stop strings, bad rows in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from sparsemm.benchmarks import Benchmark, EncodedImage, Generation, get_benchmark, score_rows, task_text
from sparsemm.benchmarks.hub import HubBenchmark
from sparsemm.errors import InputError

from helpers import tiny

ANSWER = {"answer": "dog", "answer_confidence": "yes", "answer_id": 1}
OPTIONS = {"A": "x", "B": "y", "C": "nan", "D": "nan"}
KIND = {"category": "c", "source": "s", "L2-category": "l", "split": "dev"}
# A row of every data set, with the answers that its samples show.
ROWS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "docvqa": ({"questionId": "1", "question": "q?", "answers": ["a", "b"]}, ("a", "b")),
    "ocrbench": ({"dataset": "d", "question": "q?", "question_type": "t", "answer": ["a"]}, ("a",)),
    "textvqa": ({"question_id": 1, "question": "q?", "answers": ["a"] * 10}, ("a",) * 10),
    "chartqa": ({"type": "human_test", "question": "q?", "answer": "a"}, ("a",)),
    "textcaps": ({"question_id": "1", "image_id": "i", "caption_str": ["a b", "c"]}, ("a b", "c")),
    "mmbench": ({"index": 1, "question": "q?", "hint": "nan", **OPTIONS, "answer": "A", **KIND}, ("A",)),
    "gqa": ({"id": "1", "imageId": "n", "question": "q?", "answer": "a"}, ("a",)),
    "vqav2": ({"question_id": 1, "question": "q?", "answers": [ANSWER] * 2}, ("dog", "dog")),
}
HUB = list(ROWS)
LLAVA, QWEN = ("llava_next", "llava_onevision", "internvl", ""), ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class Row(NamedTuple):
    index: int
    data: dict[str, Any]
    image_id: str
    image: EncodedImage


class FakeStore:
    """In place of the module that reads fetched rows: gives the rows it is made with, and keeps what it was asked."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows
        self.asked: list[tuple[Any, ...]] = []

    def stored_rows(
        self, stored: Any, folder: Path, count: int | None = None, *, shard: int = 0, shards: int = 1
    ) -> Iterator[Row]:
        self.asked.append((stored.name, stored.config, stored.split, folder, count, shard, shards))
        image = EncodedImage.of("row", tiny.image())
        return (Row(index, data, f"image{index // 2}", image) for index, data in enumerate(self.rows, 9))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*rows: dict[str, Any]) -> FakeStore:
        made = FakeStore(*rows)
        monkeypatch.setattr("sparsemm.benchmarks.stored.stored_rows", made.stored_rows)
        return made

    return make


@pytest.mark.parametrize("name", HUB)
def test_samples_are_stored_rows(name: str, fake: Any) -> None:
    row, answers = ROWS[name]
    store = fake(row, row)
    benchmark = get_benchmark(name, folder="somewhere")
    assert isinstance(benchmark, Benchmark)
    assert isinstance(benchmark, HubBenchmark)
    first, second = benchmark.load(None, 0, shard=1, shards=3)
    assert store.asked == [(name, benchmark.config, benchmark.split, Path("somewhere"), None, 1, 3)]
    assert (first.id, second.id) == (f"{name}-000009", f"{name}-000010")
    assert (first.image_id, second.image_id) == ("image4", "image5")
    assert first.answers == answers
    assert first.data == row
    assert first.image.size == (60, 40)
    assert set(benchmark.columns) == set(row)


@pytest.mark.parametrize("name", HUB)
@pytest.mark.parametrize("empty", [None, ""])
def test_a_row_without_answers_is_named(name: str, empty: object, fake: Any) -> None:
    row, _ = ROWS[name]
    column = "caption_str" if name == "textcaps" else "answers" if "answers" in row else "answer"
    if name == "ocrbench" and empty == "":
        empty = []  # an empty string is an answer there
    fake(row, {**row, column: empty})
    samples = get_benchmark(name).load(None, 0)
    next(samples)
    with pytest.raises(
        InputError, match=rf"^benchmarks\.{name}: row {name}-000010 has no answers; use .*split"
    ):
        next(samples)


@pytest.mark.parametrize("name", HUB)
def test_every_column_that_is_used_is_asked_for_by_name(name: str) -> None:
    row, _ = ROWS[name]
    unused = {"questionId", "question_type", "question_id", "type", "image_id", "id", "imageId", *KIND}
    if name == "textcaps":
        unused |= {"question"}
    left_out = {"hint", *OPTIONS}  # the rules take these as "nan"
    for column in row.keys() - unused - left_out:
        short = {key: value for key, value in row.items() if key != column}
        use = (
            partial(task_text, name, short)
            if column == "question"
            else partial(score_rows, name, [short], ["a"])
        )
        with pytest.raises(InputError, match=rf"^benchmarks\.{name}: a row lacks the column '{column}'"):
            use()


@pytest.mark.parametrize("name", sorted(set(HUB) - {"textcaps"}))
def test_a_question_that_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"^benchmarks\.{name}: question is None"):
        task_text(name, {**ROWS[name][0], "question": None})


@pytest.mark.parametrize("name", ["chartqa", "gqa", "docvqa", "textvqa", "ocrbench"])
def test_a_row_that_cannot_be_scored_is_named(name: str) -> None:
    row, _ = ROWS[name]
    column = "answers" if "answers" in row else "answer"
    with pytest.raises(InputError, match=rf"^benchmarks\.{name}: row 1: an"):
        score_rows(name, [row, {**row, column: None}], ["a", "a"])


LENGTHS = {
    "docvqa": (32, 32, "\n\n"),
    "ocrbench": (128, 128, "\n\n"),
    "textvqa": (1024, 128, "ASSISTANT:"),
    "chartqa": (16, 16, "\n\n"),
    "textcaps": (64, 64, "\n\n"),
    "mmbench": (1024, 1024, "ASSISTANT:"),
    "gqa": (16, 16, "\n\n"),
    "vqav2": (16, 16, "\n\n"),
}


@pytest.mark.parametrize("name", HUB)
def test_lengths_and_stop_strings(name: str) -> None:
    llava, qwen, until = LENGTHS[name]
    for family in LLAVA:
        assert get_benchmark(name).generation(family) == Generation(llava, ())
        assert get_benchmark(name, max_new_tokens=7).generation(family) == Generation(7, ())
    for family in QWEN:
        assert get_benchmark(name).generation(family) == Generation(qwen, (until,))
        assert get_benchmark(name, max_new_tokens=7).generation(family) == Generation(7, (until,))


@pytest.mark.parametrize("name", HUB)
def test_where_the_data_are(name: str) -> None:
    benchmark = get_benchmark(name)
    assert isinstance(benchmark, HubBenchmark)
    assert benchmark.folder == Path("data/benchmarks") / name
    first, *others = benchmark.hub
    assert others == ([] if name == "ocrbench" else [first.replace("lmms-lab/", "lmms-lab-encoder/")])
    other = get_benchmark(name, hub="me/mine", folder="there")
    assert isinstance(other, HubBenchmark)
    assert (other.hub, other.folder) == (("me/mine",), Path("there"))
    assert get_benchmark(name, hub=["a/b", "c/d"]).hub == ("a/b", "c/d")  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=rf"^benchmarks\.{name}\.hub: no id"):
        get_benchmark(name, hub=[])


def test_scoring_reads_no_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but GQA, whose join is described by the module that reads rows."""
    monkeypatch.setitem(sys.modules, "sparsemm.benchmarks.stored", ModuleType("stored"))
    for name in set(HUB) - {"gqa", "textcaps"}:
        row, _ = ROWS[name]
        assert score_rows(name, [row], ["A"])[0] in ([1.0], [0.0], [None], [pytest.approx(0.1)])
