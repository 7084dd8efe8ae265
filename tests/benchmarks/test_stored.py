"""Fetched rows: columns checked, images indexed and left encoded, shards over images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsemm.benchmarks import spool
from sparsemm.benchmarks.stored import (
    Join,
    Stored,
    StoredRow,
    _of_shard,
    index_rows,
    stored_origin,
    stored_rows,
)
from sparsemm.errors import InputError

from helpers import tiny

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ANSWER = pa.struct([("answer", pa.string()), ("answer_confidence", pa.string()), ("answer_id", pa.int64())])
SET = Stored("made-up", "default", "test", {"id": ("int", "str"), "question": ("str",)})


def encoded(seed: int = 0, width: int = 60, height: int = 40, **options: Any) -> bytes:
    stream = io.BytesIO()
    tiny.image(width, height, seed).save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


def write(path: Path, columns: dict[str, tuple[pa.DataType, list[Any]]], rows: int = 2) -> None:
    """A parquet file with `rows` rows a row group; images are given as bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filled = {
        name: pa.array(
            [None if value is None else {"bytes": value, "path": "x.png"} for value in values]
            if kind == IMAGE
            else values,
            kind,
        )
        for name, (kind, values) in columns.items()
    }
    pq.write_table(pa.table(filled), path, row_group_size=rows)


def made(
    folder: Path, images: list[bytes | None], files: int = 1, rows: int = 2, id_type: Any = None
) -> None:
    """A data set over `files` files, a question an image, indexed."""
    kind = id_type or pa.int64()
    integer = pa.types.is_integer(kind)
    parts = np.array_split(np.arange(len(images)), files)
    names = [f"data/test-{number}.parquet" for number in range(files)]
    for name, part in zip(names, parts):
        ids = [int(i) if integer else str(i) for i in part]
        columns = {"id": (kind, ids), "question": (pa.string(), [f"What is {i}?" for i in part])}
        write(folder / name, {**columns, "image": (IMAGE, [images[i] for i in part])}, rows)
    index_rows(SET, folder, names, origin={"id": "some/set", "commit": "c" * 40})


@pytest.mark.parametrize("id_type", [pa.int32(), pa.int64(), pa.string(), pa.large_string()])
def test_rows_have_the_columns_that_are_asked_for_and_lazy_images(tmp_path: Path, id_type: Any) -> None:
    images = [encoded(seed, 30 + seed, 20) for seed in range(5)]
    made(tmp_path, images, files=2, id_type=id_type)
    rows = list(stored_rows(SET, tmp_path))
    wanted = [number if pa.types.is_integer(id_type) else str(number) for number in range(5)]
    assert [row.data for row in rows] == [
        {"id": each, "question": f"What is {number}?"} for number, each in enumerate(wanted)
    ]
    assert [row.index for row in rows] == list(range(5))
    for seed, row in enumerate(rows):
        assert row.image.size == (30 + seed, 20)
        assert row.image.digest == row.image_id == spool.image_id(images[seed])
        assert np.array_equal(np.asarray(row.image.open()), np.asarray(tiny.image(30 + seed, 20, seed)))
    assert stored_origin(tmp_path) == {"id": "some/set", "commit": "c" * 40}


def test_sizes_and_digests_read_no_image_and_all_are_spooled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, [encoded(seed) for seed in (0, 1, 0, 2)], rows=3)
    read: list[tuple[str, ...]] = []
    cells = spool.cells
    monkeypatch.setattr(spool, "cells", lambda *given: read.append(given) or cells(*given))
    rows = list(stored_rows(SET, tmp_path))
    assert [row.image.size for row in rows] == [(60, 40)] * 4
    assert rows[0].image.digest == rows[2].image.digest != rows[1].image.digest
    assert not read
    for row in reversed(rows):
        row.image.open()
    assert len(read) == 2, "each row group once"
    assert not list(tmp_path.glob(".images*")), "the temporary file has no name"


def test_the_first_rows_and_more_than_there_are(tmp_path: Path) -> None:
    made(tmp_path, [encoded(seed) for seed in range(5)], files=3)
    assert [row.index for row in stored_rows(SET, tmp_path, 3)] == [0, 1, 2]
    assert [row.index for row in stored_rows(SET, tmp_path, 50)] == list(range(5))
    for count, shard, shards in ((0, 0, 1), (None, 2, 2), (None, -1, 2)):
        with pytest.raises(InputError, match="benchmarks"):
            stored_rows(SET, tmp_path, count, shard=shard, shards=shards)


def test_images_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made(tmp_path, [encoded(format="JPEG", exif=exif), encoded(exif=exif)])
    for row in stored_rows(SET, tmp_path):
        assert row.image.size == row.image.open().size == (40, 60)


@pytest.mark.parametrize(
    ("data", "size"), [(b"no image", (0, 0)), (b"", (0, 0)), (None, (0, 0)), (encoded()[:3000], (60, 40))]
)
def test_a_corrupt_image_is_named_when_it_is_opened(
    tmp_path: Path, data: bytes | None, size: tuple[int, int]
) -> None:
    made(tmp_path, [encoded(1), data, encoded(2)])
    rows = list(stored_rows(SET, tmp_path))
    assert [row.image.size for row in rows] == [(60, 40), size, (60, 40)]
    rows[0].image.open()
    with pytest.raises(InputError, match=r"^made-up row 1: its image is truncated or in an unknown format"):
        rows[1].image.open()
    rows[2].image.open()


@pytest.mark.parametrize(
    ("name", "kind", "values", "line"),
    [
        ("question", pa.int64(), [1], r"made-up: data/a.parquet: column 'question' is int64, not str"),
        ("id", pa.list_(pa.int64()), [[1]], r"column 'id' is list<.*int64>, not int or str"),
        (
            "image",
            pa.string(),
            ["x.png"],
            r"column 'image' is string, not struct<bytes: binary, path: string>",
        ),
        ("question", None, None, r"no column 'question'; it has id, image"),
        ("image", None, None, r"no column 'image'; it has id, question"),
    ],
)
def test_changed_columns_are_named(tmp_path: Path, name: str, kind: Any, values: Any, line: str) -> None:
    columns = {"id": (pa.int64(), [0]), "question": (pa.string(), ["?"]), "image": (IMAGE, [encoded()])}
    changed = {**columns, name: (kind, values)}
    write(tmp_path / "data/a.parquet", {key: value for key, value in changed.items() if value[0] is not None})
    with pytest.raises(InputError, match=line) as caught:
        index_rows(SET, tmp_path, ["data/a.parquet"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index.parquet").exists()


def test_columns_are_checked_again_before_rows_are_read(tmp_path: Path) -> None:
    made(tmp_path, [encoded()])
    write(tmp_path / "data/test-0.parquet", {"id": (pa.int64(), [0]), "image": (IMAGE, [encoded()])})
    with pytest.raises(InputError, match="no column 'question'"):
        stored_rows(SET, tmp_path)


@pytest.mark.parametrize("as_lists", [False, True])
def test_lists_of_texts_and_of_answers(tmp_path: Path, as_lists: bool) -> None:
    stored = Stored("set", "default", "test", {"texts": ("list[str]",), "answers": ("list[answer]",)})
    answers = [{"answer": f"a{n}", "answer_confidence": "yes", "answer_id": n} for n in range(3)]
    kind: pa.DataType = pa.list_(ANSWER)
    cell: Any = answers
    if as_lists:  # as `datasets` stores Sequence({...})
        kind = pa.struct([(field.name, pa.list_(field.type)) for field in ANSWER])
        cell = {name: [answer[name] for answer in answers] for name in answers[0]}
    columns = {"texts": (pa.list_(pa.string()), [["a", "b"]]), "answers": (kind, [cell])}
    write(tmp_path / "a.parquet", {**columns, "image": (IMAGE, [encoded()])})
    index_rows(stored, tmp_path, ["a.parquet"])
    (row,) = stored_rows(stored, tmp_path)
    assert row.data == {"texts": ["a", "b"], "answers": answers}
    for other in ({"texts": ("list[answer]",)}, {"answers": ("list[str]", "str")}):
        with pytest.raises(InputError, match=r"not list\[answer\]|not list\[str\] or str"):
            index_rows(Stored("set", "default", "test", other), tmp_path, ["a.parquet"])


def test_images_of_another_configuration_join_and_a_missing_one_is_told(tmp_path: Path) -> None:
    stored = Stored(
        "gqa",
        "questions",
        "testdev",
        {"id": ("str",), "imageId": ("str",)},
        Join("images", "testdev", "imageId", "id"),
    )
    keys = ["n2", "n1", "n2", "n9"]
    questions = {"id": (pa.string(), list("abcd")), "imageId": (pa.string(), keys)}
    write(tmp_path / "questions.parquet", questions)
    pictures = {"id": (pa.string(), ["n1", "n2"]), "image": (IMAGE, [encoded(1), encoded(2)])}
    write(tmp_path / "images.parquet", pictures, rows=1)
    index_rows(stored, tmp_path, ["questions.parquet"], ["images.parquet"])
    rows = list(stored_rows(stored, tmp_path))
    assert [row.data["id"] for row in rows] == list("abcd")
    assert rows[0].image_id == rows[2].image_id == spool.image_id(encoded(2))
    assert np.array_equal(np.asarray(rows[1].image.open()), np.asarray(tiny.image(seed=1)))
    assert rows[3].image.size == (0, 0)
    with pytest.raises(InputError, match=r"^gqa row 3 \(image n9\): the data set has no such image"):
        rows[3].image.open()
    with pytest.raises(InputError, match="no column 'image'; it has id, imageId"):
        index_rows(stored, tmp_path, ["questions.parquet"], ["questions.parquet"])


def test_no_index_broken_files_and_no_rows_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index.parquet: missing, or no index .* run `snakemake fetch`"):
        stored_rows(SET, tmp_path)
    made(tmp_path, [encoded()])
    with pytest.raises(InputError, match="no index of this data set"):
        stored_rows(Stored("other", "default", "test", {}), tmp_path)
    rows = list(stored_rows(SET, tmp_path))
    made(tmp_path / "others", [encoded(1)])
    (tmp_path / "others/data/test-0.parquet").replace(tmp_path / "data/test-0.parquet")
    with pytest.raises(InputError, match="other images than were indexed"):
        rows[0].image.open()
    (tmp_path / "data/test-0.parquet").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"test-0.parquet: not readable .* delete it and run"):
        stored_rows(SET, tmp_path)
    with pytest.raises(InputError, match="split 'test' has no rows"):
        made(tmp_path / "empty", [])


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, [encoded()])
    (row,) = stored_rows(SET, tmp_path)
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(spool.Spool, "_temporary", lambda self: full)
        with pytest.raises(InputError, match=r"no room for a shard's images \(No space left on device\)"):
            row.image.open()


def test_an_index_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    made(tmp_path, [encoded(seed) for seed in range(3)])
    first = (tmp_path / "index.parquet").read_bytes()
    made(tmp_path, [encoded(seed) for seed in range(3)])
    assert (tmp_path / "index.parquet").read_bytes() == first


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 9))
def test_shards_are_runs_of_whole_images_of_nearly_equal_size(images: list[int], shards: int) -> None:
    names = [f"{image:02d}" for image in images]
    parts = [_of_shard(names, shard, shards) for shard in range(shards)]
    assert sorted(row for part in parts for row in part) == list(range(len(images))), "each row once"
    assert all(part == sorted(part) for part in parts)
    held = [{images[row] for row in part} for part in parts]
    assert sum(len(each) for each in held) == len(set(images)), "an image in one shard"
    order = list(dict.fromkeys(images))
    numbered = [sorted(order.index(image) for image in each) for each in held]
    assert [number for part in numbered for number in part] == list(range(len(order))), "contiguous"
    most = max(images.count(image) for image in order)
    assert all(abs(len(part) - len(images) / shards) <= most for part in parts)


def test_shards_of_a_data_set_are_its_rows(tmp_path: Path) -> None:
    made(tmp_path, [encoded(seed // 2) for seed in range(9)], files=2)

    def of(row: StoredRow) -> tuple[int, str]:
        return row.index, row.image_id

    whole = [of(row) for row in stored_rows(SET, tmp_path)]
    parts = [[of(row) for row in stored_rows(SET, tmp_path, shard=k, shards=3)] for k in range(3)]
    assert [row for part in parts for row in part] == whole
    assert [len(part) for part in parts] == [2, 4, 3]
    many = [list(stored_rows(SET, tmp_path, shard=k, shards=20)) for k in range(20)]
    assert sum(map(len, many)) == 9
    assert [] in many
    next(stored_rows(SET, tmp_path, shard=1, shards=3)).image.open()
