"""Rows of a fetched data set: parquet files as they are on the hub, an index of their images, a shard's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparsemm.benchmarks.base import shard_indices
from sparsemm.benchmarks.columns import check_columns, image_bytes, plain_value
from sparsemm.benchmarks.images import EncodedImage, LazyImage, UnreadableImage, image_size
from sparsemm.benchmarks.spool import Place, Spool, cells, image_id, open_parquet, unreadable
from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write

INDEX = "index.parquet"
# A line a row. file, row_group, offset: where its image is, null where there is none. width, height: 0 where the
# image's header cannot be read.
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("offset", pa.int32()),
        ("image_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
_METADATA_KEY = b"sparsemm"
_MISSING = image_id(b"")  # of every row without an image


@dataclass(frozen=True)
class Join:
    """Images that are kept in another configuration: a row's image is the one whose `id` is the row's `key`."""

    config: str
    split: str
    key: str
    id: str


@dataclass(frozen=True)
class Stored:
    """What is read of a data set.

    Attributes:
        name: the benchmark.
        config: the data set's configuration.
        split: its split.
        columns: name -> kinds that are allowed: "str", "int", "list[str]", "list[answer]" (the structs of VQAv2:
            answer, answer_confidence, answer_id). The image column is called "image".
        join: where the images are, if not among the rows.
    """

    name: str
    config: str
    split: str
    columns: Mapping[str, Sequence[str]]
    join: Join | None = None


@dataclass(frozen=True)
class StoredRow:
    """One row.

    Attributes:
        index: its place in the split, from 0.
        data: the columns that `Stored` names.
        image_id: the first 32 hex digits of the sha256 of the encoded image.
        image: its size comes from the index; one that cannot be decoded says so, with the row, when it is opened.
    """

    index: int
    data: dict[str, Any]
    image_id: str
    image: LazyImage


class _Image(NamedTuple):
    place: Place | None
    id: str
    width: int
    height: int


def index_rows(
    stored: Stored,
    folder: str | Path,
    files: Sequence[str],
    join_files: Sequence[str] = (),
    origin: Mapping[str, str] | None = None,
) -> Path:
    """Check the columns of fetched files and write `index.parquet`; no pixel is decoded.

    Args:
        stored: what is read.
        folder: holds the files.
        files: parquet files of the split, by their paths in the folder, in the order of their rows.
        join_files: those of the images, where `stored` joins.
        origin: facts to keep with the index, such as hub id and commit.

    Returns:
        The path of the index.

    Raises:
        InputError: for a column that is missing or of another type, a file that cannot be read, no rows.
    """
    root = Path(folder)
    join = stored.join
    rows = _columns_of_rows(stored)
    for name in files:
        with open_parquet(root / name) as file:
            check_columns(f"{stored.name}: {name}", file.schema_arrow, rows, image=join is None)
    if join is None:
        images = [image for _, image in _images(root, files, None)]
    else:
        for name in join_files:
            with open_parquet(root / name) as file:
                check_columns(
                    f"{stored.name}: {name}", file.schema_arrow, {join.id: ("str", "int")}, image=True
                )
        by_id: dict[str, _Image] = {}
        for key, image in _images(root, join_files, join.id):
            by_id.setdefault(key, image)
        missing = _Image(None, _MISSING, 0, 0)
        images = [by_id.get(str(row[join.key]), missing) for _, row in _rows(root, files, [join.key])]
    if not images:
        raise InputError(f"{stored.name}: split {stored.split!r} has no rows; correct it")
    table = pa.table(
        [
            range(len(images)),
            [image.place and image.place.file for image in images],
            [image.place and image.place.row_group for image in images],
            [image.place and image.place.offset for image in images],
            [image.id for image in images],
            [image.width for image in images],
            [image.height for image in images],
        ],
        schema=_SCHEMA,
    )
    facts = {"benchmark": stored.name, "files": list(files), "origin": dict(origin or {})}
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(facts, sort_keys=True).encode()})
    with atomic_write(root / INDEX) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")
    return root / INDEX


def stored_rows(
    stored: Stored, folder: str | Path, count: int | None = None, *, shard: int = 0, shards: int = 1
) -> Iterator[StoredRow]:
    """A shard of the first `count` rows, in their order; None takes all, as does a count beyond them.

    Shards are over images, so that all questions about one are in the same: images in the order in which they first
    appear are cut into as many runs, each cut at the image that is nearest to equal numbers of rows. With more shards
    than images some are empty. Checks are made when this is called, not when the first row is asked for.

    Raises:
        InputError: for data that were not fetched or have other columns, or a shard or count out of range.
    """
    root = Path(folder)
    index, facts = _read_index(stored, root)
    total = len(index) if count is None else min(count, len(index))
    shard_indices(total, shard, shards)
    columns = _columns_of_rows(stored)
    for name in facts["files"]:
        with open_parquet(root / name) as file:
            check_columns(f"{stored.name}: {name}", file.schema_arrow, columns, image=stored.join is None)
    rows = _of_shard([image.id for image in index[:total]], shard, shards)
    return _shard(stored, root, facts["files"], {row: index[row] for row in rows})


def stored_origin(folder: str | Path) -> dict[str, str]:
    """The facts that `index_rows` was given: where the data are from.

    Raises:
        InputError: for data that were not fetched.
    """
    try:
        metadata = pq.read_schema(Path(folder) / INDEX).metadata or {}
        return dict(json.loads(metadata[_METADATA_KEY])["origin"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _not_indexed(Path(folder)) from error


def _shard(
    stored: Stored, root: Path, files: Sequence[str], images: Mapping[int, _Image]
) -> Iterator[StoredRow]:
    if not images:
        return
    places: dict[str, Place] = {}
    for image in images.values():
        if image.place is not None:
            places.setdefault(image.id, image.place)
    spool = Spool(root, places)
    for number, data in _rows(root, files, list(stored.columns), min(images), max(images) + 1):
        if number not in images:
            continue
        image = images[number]
        what = f"{stored.name} row {number}"
        if stored.join is not None:
            what += f" (image {data.get(stored.join.key)})"
        read = partial(_no_image, what) if image.place is None else partial(spool.read, image.id)
        encoded = EncodedImage(what, read, ((image.width, image.height), image.id))
        yield StoredRow(number, {key: plain_value(value) for key, value in data.items()}, image.id, encoded)


def _no_image(what: str) -> bytes:
    raise UnreadableImage(f"{what}: the data set has no such image; get the data again")


def _columns_of_rows(stored: Stored) -> dict[str, Sequence[str]]:
    key = {stored.join.key: ("str", "int")} if stored.join else {}
    return {**key, **stored.columns}


def _of_shard(image_ids: Sequence[str], shard: int, shards: int) -> list[int]:
    """Positions of a shard's rows, ascending."""
    numbers: dict[str, int] = {}  # images are numbered by first appearance
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in image_ids])
    ends = np.concatenate([[0], np.cumsum(np.bincount(codes))])  # rows of the first n images
    first, last = (int(np.argmin(abs(ends * shards - len(codes) * k))) for k in (shard, shard + 1))
    return [int(row) for row in np.flatnonzero((codes >= first) & (codes < last))]


def _read_index(stored: Stored, root: Path) -> tuple[list[_Image], dict[str, Any]]:
    try:
        table = pq.read_table(root / INDEX)
        facts = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        if not table.schema.equals(_SCHEMA) or facts["benchmark"] != stored.name:
            raise ValueError("another index")
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _not_indexed(root) from error
    _, *columns = table.to_pydict().values()
    return [_Image(None if f is None else Place(f, g, o), *rest) for f, g, o, *rest in zip(*columns)], facts


def _not_indexed(root: Path) -> InputError:
    return InputError(f"{root / INDEX}: missing, or no index of this data set; run `snakemake fetch`")


def _images(root: Path, files: Sequence[str], key: str | None) -> Iterator[tuple[str, _Image]]:
    """The images of some files, each with its row's `key`."""
    columns = ["image"] if key is None else [key, "image"]
    for name in files:
        with open_parquet(root / name) as file:
            groups = file.num_row_groups
        for group in range(groups):
            for offset, row in enumerate(cells(root / name, group, columns)):
                data = image_bytes(row["image"])
                found = _Image(Place(name, group, offset), image_id(data), *image_size(data))
                yield "" if key is None else str(row[key]), found


def _rows(
    root: Path, files: Sequence[str], columns: list[str], first: int = 0, end: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows from `first` to before `end` with their numbers; row groups without any of them are not read."""
    start = 0
    for name in files:
        try:
            with open_parquet(root / name) as file:
                for group in range(file.num_row_groups):
                    size = file.metadata.row_group(group).num_rows
                    if start + size > first and (end is None or start < end):
                        batches = file.iter_batches(row_groups=[group], columns=columns)
                        rows = (row for batch in batches for row in batch.to_pylist())
                        for number, row in enumerate(rows, start):
                            if number >= first and (end is None or number < end):
                                yield number, row
                    start += size
        except (pa.ArrowException, OSError) as error:
            raise unreadable(root / name, error) from error
