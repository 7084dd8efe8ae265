"""The probe set of the paper, `synthdog-en-detection`: read from a local folder, and written in its format."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from sparsemm.documents.boxes import Box
from sparsemm.errors import InputError
from sparsemm.heads.probe import ProbeImage, as_box, check_image, check_probe, decode_image, png_bytes

_LOG = logging.getLogger(__name__)


def read_synthdog(folder: str | Path, limit: int | None = None, *, clip: bool = False) -> list[ProbeImage]:
    """The first ``limit`` rows of ``synthdog-en-detection`` in a local folder.

    Parquet shards and arrow files (as ``datasets.save_to_disk`` writes them) are read in the order of their names,
    without the library ``datasets``: it would fill a cache, and its errors name neither file nor row.

    Args:
        folder: holds ``*.parquet`` or ``*.arrow`` files, at any depth, with ``image`` (bytes or path)
            and ``2_coord`` (list of ``{chunk, coord: [[x0, y0], [x1, y1]]}``).
        limit: rows to read; None for all.
        clip: cut boxes at the image's edges and leave out words whose box then has no area, as the released code
            does, and pages without words; the log says so. A fetched set cannot be mended by hand.

    Raises:
        InputError: no such folder, no files, unreadable file or image, missing column, a bad box.
    """
    root = Path(folder)
    files = sorted(p for p in root.rglob("*") if p.suffix in (".parquet", ".arrow") and p.is_file())
    if not root.is_dir() or not files:
        raise InputError(
            f"{folder}: no parquet or arrow file there; point probe.source at the local data set"
        )
    if limit is not None and limit < 1:
        raise InputError(f"probe.images: {limit} gives an empty probe set; ask for at least 1")
    probe: list[ProbeImage] = []
    for file in files:
        for index, row in enumerate(_rows(file)):
            if len(probe) == limit:
                return probe
            if clip and not row["2_coord"]:
                _LOG.info("%s, row %d: a page without words, left out", file, index)
                continue
            probe.append(_synthdog_row(row, f"{len(probe):05d}", file, index, clip))
    check_probe(probe, str(folder))
    return probe


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet or arrow file, 16 in memory at a time."""
    columns = ["image", "2_coord"]
    try:
        if file.suffix == ".parquet":
            batches: Any = pq.ParquetFile(file).iter_batches(batch_size=16, columns=columns)
        else:
            source = pa.memory_map(str(file))
            try:
                batches = pa.ipc.open_stream(source)
            except pa.ArrowInvalid:
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in batches:
            missing = [name for name in columns if name not in batch.schema.names]
            if missing:
                raise InputError(f"{file}: no column {missing[0]}; it must hold {' and '.join(columns)}")
            for start in range(0, batch.num_rows, 16):
                yield from batch.select(columns).slice(start, 16).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: not readable ({reason}); fetch the file again") from error


def _synthdog_row(row: dict[str, Any], name: str, file: Path, index: int, clip: bool) -> ProbeImage:
    """One row of the data set as a probe image with the id ``name``."""
    where = f"{file}, row {index}"
    cell = row["image"]
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not data and isinstance(cell, dict) and cell.get("path"):
        path = file.parent / cell["path"]
        if not path.resolve().is_relative_to(file.parent.resolve()):
            raise InputError(
                f"{where}: image file {cell['path']} is outside the data set; put it into its folder"
            )
        if not path.is_file():
            raise InputError(f"{where}: image file {cell['path']} is missing; fetch it or drop the row")
        data = path.read_bytes()
    image = decode_image(data, where)
    marks = row["2_coord"] or []
    if isinstance(marks, dict):  # `datasets` may store a list of records as lists
        marks = [{"chunk": c, "coord": b} for c, b in zip(marks["chunk"], marks["coord"], strict=True)]
    words, boxes = [], []
    try:
        for mark in marks:
            corners = mark["coord"]
            words.append(str(mark["chunk"]))
            boxes.append(as_box([value for corner in corners or [] for value in corner], where))
    except (TypeError, KeyError) as error:
        raise InputError(
            f"{where}: 2_coord is no list of words with chunk and coord; fetch the data set again"
        ) from error
    if clip:
        words, boxes = _clipped(words, boxes, image.size, where)
    return check_image(ProbeImage(name, image, words, boxes), where)


def _clipped(
    words: list[str], boxes: list[Box], size: tuple[int, int], where: str
) -> tuple[list[str], list[Box]]:
    """Words and boxes cut at the edges of an image of (width, height) px, without the boxes that have no area."""
    width, height = size
    kept: list[tuple[str, Box]] = []
    cut = 0
    for word, box in zip(words, boxes, strict=True):
        if not all(math.isfinite(value) for value in box):
            kept.append((word, box))  # no box at all: refused later
            continue
        inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height)))
        cut += inside != box
        if inside[0] < inside[2] and inside[1] < inside[3]:
            kept.append((word, inside))
    if cut or len(kept) < len(words):
        _LOG.info(
            "%s: %d boxes cut at the edges, %d without area left out", where, cut, len(words) - len(kept)
        )
    return [word for word, _ in kept], [box for _, box in kept]


def write_synthdog(path: str | Path, probe: Sequence[ProbeImage]) -> None:
    """Write the set in the format of ``synthdog-en-detection``, so that ``datasets`` shows the images."""
    check_probe(probe)
    rows = [
        {
            "image": {"bytes": png_bytes(p.image), "path": f"{p.id}.png"},
            "2_coord": [
                {"chunk": word, "coord": [[b[0], b[1]], [b[2], b[3]]]}
                for word, b in zip(p.words, p.boxes, strict=True)
            ],
        }
        for p in probe
    ]
    mark = pa.struct([("chunk", pa.string()), ("coord", pa.list_(pa.list_(pa.float64())))])
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("2_coord", pa.list_(mark)),
        ]
    )
    numbers = {
        "_type": "List",
        "feature": {"_type": "List", "feature": {"dtype": "float64", "_type": "Value"}},
    }
    features = {
        "image": {"_type": "Image"},
        "2_coord": {
            "_type": "List",
            "feature": {"chunk": {"dtype": "string", "_type": "Value"}, "coord": numbers},
        },
    }
    info = json.dumps({"info": {"features": features}})
    table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata({"huggingface": info})
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    pq.write_table(table, partial)
    partial.replace(target)
