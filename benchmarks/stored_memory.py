"""Memory of reading one shard of document pages: indexed, then every image opened, one at a time, in a random order.

    python benchmarks/stored_memory.py [--rows 700] [--row-group 700] [--json FILE]

The data set is made up: pages of 2,000 x 1,700 px as JPEG, all different, in one parquet file. Indexing and reading are
processes of their own; what is printed is each one's peak resident memory as the kernel counts it (VmHWM), libraries
included, and how much of it came after the imports.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

WIDTH, HEIGHT = 2000, 1700
STAGES = ("index", "read")


def pages(count: int) -> Iterator[bytes]:
    """One noisy page as JPEG, told apart by a comment: encoding is not what is measured."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(150, 256, (HEIGHT // 2, WIDTH // 2), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((WIDTH, HEIGHT)).convert("RGB").save(stream, format="JPEG", quality=90)
    data = stream.getvalue()
    for index in range(count):
        yield data[:2] + b"\xff\xfe\x00\x0a" + b"%08d" % index + data[2:]


def make(path: Path, rows: int, row_group: int) -> int:
    """Write the data set; returns the bytes of its images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("question", pa.string()), ("image", image)])
    held: list[dict[str, object]] = []
    total = 0
    with pq.ParquetWriter(path, schema) as writer:
        for index, data in enumerate(pages(rows), 1):
            total += len(data)
            held.append({"question": "What is it?", "image": {"bytes": data, "path": f"{index}.jpg"}})
            if len(held) == row_group or index == rows:
                writer.write_table(pa.Table.from_pylist(held, schema=schema), row_group_size=row_group)
                held.clear()
    return total


def measure(folder: Path, stage: str) -> None:
    """What a child process does: one stage; prints its peak and what it held before, in bytes."""
    from sparsemm.benchmarks.stored import Stored, index_rows, stored_rows

    stored = Stored("pages", "default", "test", {"question": ("str",)})
    before = status("VmHWM")
    if stage == "index":
        index_rows(stored, folder, ["test.parquet"])
    else:
        rows = list(stored_rows(stored, folder))
        random.Random(0).shuffle(rows)
        for row in rows:
            assert row.image.open().size == row.image.size
    print(json.dumps({"stage": stage, "peak": status("VmHWM"), "before": before}))


def status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def main() -> None:
    """Make the data set, measure both stages, print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=700)
    parser.add_argument("--row-group", type=int, default=700)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "STAGE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return measure(Path(given.child[0]), given.child[1])
    with tempfile.TemporaryDirectory() as folder:
        total = make(Path(folder) / "test.parquet", given.rows, given.row_group)
        print(f"{given.rows} pages, {total / 1e6:.0f} MB encoded, {given.row_group} a row group")
        found = []
        for stage in STAGES:
            command = [sys.executable, __file__, "--child", folder, stage]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout))
            peak, before = found[-1]["peak"], found[-1]["before"]
            print(
                f"{stage}: peak {peak / 1e6:.0f} MB, {(peak - before) / 1e6:.0f} MB of it after the imports"
            )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
