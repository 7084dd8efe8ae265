"""The eight benchmarks read parquet files with the column types of the real data sets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparsemm.benchmarks import get_benchmark, score_rows, task_text
from sparsemm.benchmarks.hub import HubBenchmark
from sparsemm.benchmarks.stored import index_rows
from sparsemm.errors import InputError

from helpers import tiny

TEXT, TEXTS = pa.string(), pa.list_(pa.string())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])
ANSWER = pa.struct([("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", pa.int64())])
TEN = [{"answer": "dog", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]
OPTIONS = dict.fromkeys(
    ("hint", "A", "B", "C", "D", "category", "source", "L2-category", "split"), (TEXT, "nan")
)
# Column types and a value of each, and a prediction that scores 1 in every row.
SETS: dict[str, tuple[dict[str, tuple[pa.DataType, Any]], str]] = {
    "docvqa": ({"questionId": (TEXT, "1"), "question": (TEXT, "q"), "answers": (TEXTS, ["a", "b"])}, "b"),
    "ocrbench": (
        {
            "dataset": (TEXT, "IIIT5K"),
            "question": (TEXT, "q"),
            "question_type": (TEXT, "t"),
            "answer": (TEXTS, ["a"]),
        },
        "a",
    ),
    "textvqa": (
        {"question_id": (pa.int32(), 1), "question": (TEXT, "q"), "answers": (TEXTS, ["a b"] * 10)},
        "b",
    ),
    "chartqa": ({"type": (TEXT, "augmented"), "question": (TEXT, "q"), "answer": (TEXT, "14")}, "14.1"),
    "textcaps": (
        {"question_id": (TEXT, "1"), "image_id": (TEXT, "i"), "caption_str": (TEXTS, ["a b", "c"])},
        "",
    ),
    "mmbench": ({"index": (pa.int64(), 1), "question": (TEXT, "q"), **OPTIONS, "answer": (TEXT, "B")}, "(B)"),
    "gqa": (
        {"id": (TEXT, "1"), "imageId": (TEXT, "n1"), "question": (TEXT, "q"), "answer": (TEXT, "yes")},
        "Yes.",
    ),
    "vqav2": (
        {"question_id": (pa.int64(), 1), "question": (TEXT, "q"), "answers": (pa.list_(ANSWER), TEN)},
        "dog",
    ),
}


def encoded(seed: int) -> bytes:
    stream = io.BytesIO()
    tiny.image(60, 40, seed).save(stream, format="PNG")
    return stream.getvalue()


def write(path: Path, columns: dict[str, tuple[pa.DataType, list[Any]]]) -> str:
    pq.write_table(pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()}), path)
    return path.name


def store(folder: Path, name: str, count: int = 4, **changed: tuple[pa.DataType, Any]) -> HubBenchmark:
    """`count` rows about half as many images, indexed."""
    benchmark = get_benchmark(name, folder=folder)
    assert isinstance(benchmark, HubBenchmark)
    columns = {key: (kind, [value] * count) for key, (kind, value) in {**SETS[name][0], **changed}.items()}
    if name == "mmbench":
        columns["index"] = (columns["index"][0], [(i // 2) + 1_000_000 * (i % 2) for i in range(count)])
    images = [{"bytes": encoded(i // 2), "path": f"{i}.png"} for i in range(count)]
    if benchmark.join is None:
        file = write(folder / "rows.parquet", {**columns, "image": (IMAGE, images)})
        index_rows(benchmark.stored, folder, [file])
        return benchmark
    columns["imageId"] = (TEXT, [f"n{i // 2}" for i in range(count)])
    pictures = write(
        folder / "images.parquet",
        {"id": (TEXT, [f"n{i}" for i in range(count // 2)]), "image": (IMAGE, images[::2])},
    )
    index_rows(benchmark.stored, folder, [write(folder / "rows.parquet", columns)], [pictures])
    return benchmark


@pytest.mark.parametrize("name", list(SETS))
def test_rows_are_read_asked_and_scored(name: str, tmp_path: Path) -> None:
    benchmark = store(tmp_path, name)
    samples = list(benchmark.load(None, 0))
    assert [sample.id for sample in samples] == [f"{name}-{index:06d}" for index in range(4)]
    assert [sample.image_id == samples[0].image_id for sample in samples] == [True, True, False, False]
    assert [sample.id for shard in (0, 1) for sample in benchmark.load(3, 0, shard=shard, shards=2)] == [
        sample.id for sample in samples[:3]
    ]
    assert samples[3].image.size == samples[3].image.open().size == (60, 40)
    for sample in samples:
        assert task_text(name, sample.data)
        assert all(isinstance(answer, str) for answer in sample.answers)
        assert set(sample.data) == set(SETS[name][0])
    if name != "textcaps":
        rows = [sample.data for sample in samples]
        for rules in ("paper", "current"):
            total = score_rows(name, rows, [SETS[name][1]] * 4, rules=rules)[1]
            assert total == (4 / 1000 if name == "ocrbench" else 1.0)


def test_other_types_that_the_data_sets_have_had(tmp_path: Path) -> None:
    benchmark = store(tmp_path, "ocrbench", answer=(TEXT, "a"))
    assert next(benchmark.load(None, 0)).answers == ("a",)
    benchmark = store(tmp_path, "mmbench", index=(pa.int32(), 1))
    assert next(benchmark.load(None, 0)).answers == ("B",)


@pytest.mark.parametrize("name", list(SETS))
def test_a_column_of_another_type_is_named(name: str, tmp_path: Path) -> None:
    column = next(reversed(SETS[name][0]))
    with pytest.raises(InputError, match=rf"^{name}: .*column '{column}' is double, not ") as error:
        store(tmp_path, name, **{column: (pa.float64(), 1.5)})
    assert "\n" not in str(error.value)


def test_a_row_without_answers_is_named(tmp_path: Path) -> None:
    benchmark = store(tmp_path, "docvqa", answers=(TEXTS, []))
    with pytest.raises(InputError, match=r"^benchmarks\.docvqa: row docvqa-000000 has no answers"):
        list(benchmark.load(None, 0))
