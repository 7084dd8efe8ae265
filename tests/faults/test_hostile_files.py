"""Files that are damaged, of another kind, or made to hurt: every reader says in one line which file and what is wrong.

Rows of the table are content and readers; each is tried with each. docs/reliability.md counts them.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.heads.probe import read_probe
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.synthdog import read_synthdog
from sparsemm.results.parquet import read_metadata, read_table

LONGEST = 600  # characters of an error line
HUGE = "x" * 10**6


def table(columns: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises an area, and whose data is a few bytes: a bomb if it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


SCORES = {
    "layer": np.array([0, 0], dtype=np.int32),
    "head": np.array([0, 1], dtype=np.int32),
    "score": [0.5, 0.5],
    "ci_low": [0.4, 0.4],
    "ci_high": [0.6, 0.6],
    "hits": np.array([1, 1]),
    "matched_tokens": np.array([2, 2]),
}
WHOLE = table(SCORES)
COORD = [{"chunk": "WORD", "coord": [[1.0, 1.0], [9.0, 9.0]]}]


def page(**changes: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "PNG")
    row = {"image": {"bytes": stream.getvalue(), "path": None}, "2_coord": COORD} | changes
    return table({name: [value] for name, value in row.items()})


def flipped(data: bytes, step: int) -> bytes:
    """Every `step`-th byte inverted."""
    changed = bytearray(data)
    changed[::step] = bytes(255 - value for value in changed[::step])
    return bytes(changed)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"P",
    "a text": b"scores of the model",
    "zeros": bytes(4096),
    "random bytes": np.random.default_rng(0).bytes(4096),
    "a pickle": pickle.dumps({"0-0": [1.0]}),
    "no UTF-8": b'{"0-0": [\xff\xfe]}',
    "a parquet without its end": WHOLE[:-20],
    "a parquet without its half": WHOLE[: len(WHOLE) // 2],
    "a parquet with inverted bytes": flipped(WHOLE, 37),
    "a parquet with an inverted end": WHOLE[:-60] + flipped(WHOLE[-60:], 3),
    "a parquet of other columns": table({"a": [1], "b": ["c"]}),
    "a parquet without rows": table({name: values[:0] for name, values in SCORES.items()}),
    "a parquet of a thousand columns": table({f"column {number}": [0] for number in range(1000)}),
    "a parquet with NaN": table(SCORES | {"score": [np.nan, 1.0]}),
    "a parquet with null": table(SCORES | {"score": [None, 1.0]}),
    "a parquet of texts for numbers": table(SCORES | {"score": ["much", HUGE]}),
    "a parquet with a long name": table(SCORES | {HUGE[:100_000]: [1, 2]}),
    "a list": b"[1, 2]",
    "a number": b"3",
    "no keys": b"{}",
    "a bad key": b'{"0-0": [1], "a": [1]}',
    "a long key": json.dumps({HUGE: [1]}).encode(),
    "three numbers a key": b'{"0-0-0": [1]}',
    "a head too few": b'{"0-0": [1], "0-1": [1], "1-0": [1]}',
    "a far head": b'{"0-0": [1], "99999999-99999999": [1]}',
    "a text for a list": json.dumps({"0-0": HUGE}).encode(),
    "nothing for a list": b'{"0-0": null}',
    "an empty list": b'{"0-0": []}',
    "no number": b'{"0-0": [NaN]}',
    "infinite": b'{"0-0": [1e999]}',
    "negative": b'{"0-0": [-1], "0-1": [1]}',
    "nothing but zeros": b'{"0-0": [0], "0-1": [0]}',
    "a list in a list in a list": b'{"0-0": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of a million digits": b'{"0-0": [' + b"9" * 10**6 + b"]}",
    "a page without an image": page(image={"bytes": None, "path": None}),
    "a page whose image is a text": page(image={"bytes": b"not an image", "path": None}),
    "a page whose image is a bomb": page(image={"bytes": png(60_000, 60_000), "path": None}),
    "a page of no width": page(image={"bytes": png(0, 16), "path": None}),
    "a page whose image is elsewhere": page(image={"bytes": None, "path": "../../etc/passwd"}),
    "a page with a box outside": page(**{"2_coord": [{"chunk": "A", "coord": [[1.0, 1.0], [99.0, 99.0]]}]}),
    "a page with a box of NaN": page(**{"2_coord": [{"chunk": "A", "coord": [[np.nan, 1.0], [9.0, 9.0]]}]}),
    "a page with a box of one corner": page(**{"2_coord": [{"chunk": "A", "coord": [[1.0, 1.0]]}]}),
    "a page with a box turned round": page(
        **{"2_coord": [{"chunk": "A", "coord": [[9.0, 9.0], [1.0, 1.0]]}]}
    ),
    "a page whose words are a text": page(**{"2_coord": HUGE}),
    "a page whose words are nothing": page(**{"2_coord": None}),
}
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "head scores": ("scores.parquet", HeadScores.load),
    "published head scores": ("scores.json", HeadScores.load),
    "a result file": ("table.parquet", lambda path: read_table(path, kind="predictions")),
    "facts of a result file": ("table.parquet", read_metadata),
    "a probe set": ("probe.parquet", read_probe),
    "synthdog": ("shard.parquet", lambda path: read_synthdog(path.parent)),
}


def told(read: Callable[[Path], Any], path: Path) -> str:
    """The one line that a reader says."""
    with pytest.raises(InputError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) <= LONGEST, f"{len(line)} characters: {line[:200]}"
    assert path.name in line or path.parent.name in line
    return line


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_reader_says_in_one_line_what_is_wrong(content: str, reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    path = tmp_path / "given" / name
    path.parent.mkdir()
    path.write_bytes(CONTENTS[content])
    told(read, path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", ["missing", "a folder", "a loop of links", "not for us"])
def test_what_is_no_file_is_told_too(what: str, reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    path = tmp_path / "given" / name
    path.parent.mkdir()
    if what == "a folder":
        path.mkdir()
    elif what == "a loop of links":
        path.symlink_to(path)
    elif what == "not for us":
        path.write_bytes(WHOLE)
        path.chmod(0)
        if os.getuid() == 0:
            pytest.skip("root may read everything")
    told(read, path)


def test_a_data_set_reads_no_file_outside_its_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "private.png", tmp_path / "set"
    Image.new("RGB", (32, 32)).save(outside)
    folder.mkdir()
    (folder / "link.png").symlink_to(outside)
    for name in ("../private.png", str(outside), "link.png"):
        (folder / "shard.parquet").write_bytes(page(image={"bytes": None, "path": name}))
        assert "is outside the data set" in told(
            lambda path: read_synthdog(path.parent), folder / "shard.parquet"
        )


def test_a_table_that_is_right_is_read() -> None:
    """The table above would prove nothing if no file were good."""
    frame = pq.read_table(io.BytesIO(WHOLE)).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(SCORES)
