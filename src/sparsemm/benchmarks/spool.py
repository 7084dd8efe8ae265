"""A shard's encoded images, out of parquet files into a temporary file, where each can be read by itself.

Parquet has no way to one cell: a row group is decoded from its start. Reading images in another order than that of
the file would decode it again and again, or keep all of it in memory.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sparsemm.benchmarks.columns import image_bytes
from sparsemm.errors import InputError

_ROWS = 8  # with images, decoded at once
_BUFFER = 1 << 20  # bytes of a column chunk read at once; 0 would read all of it


class Place(NamedTuple):
    """Where an image is: a parquet file (its path in the folder), a row group, a row in that."""

    file: str
    row_group: int
    offset: int


def image_id(data: bytes) -> str:
    """The name of encoded bytes: the first 32 hex digits of their sha256."""
    return hashlib.sha256(data).hexdigest()[:32]


def open_parquet(path: Path) -> pq.ParquetFile:
    """A parquet file whose columns are read in pieces.

    Raises:
        InputError: for a file that is missing or no parquet file.
    """
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """What to say of a data file that cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(f"{path}: not readable ({reason}); delete it and run `snakemake fetch`")


def cells(path: Path, row_group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of one row group, a few in memory at a time.

    Raises:
        InputError: for a file that cannot be read.
    """
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(_ROWS, row_groups=[row_group], columns=columns):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


class Spool:
    """Reads the images at some places of a folder's parquet files.

    The first read copies all of them, each once, to an unlinked file in the folder (in the system's temporary folder
    where that cannot be written); the file is gone with this object, or with the process.

    Args:
        folder: holds the parquet files.
        places: image id -> where it is.
    """

    def __init__(self, folder: Path, places: Mapping[str, Place]) -> None:
        self._folder = folder
        self._places = places
        self._file: IO[bytes] | None = None
        self._spans: dict[str, tuple[int, int]] = {}  # image id -> start, length
        self._lock = threading.Lock()

    def read(self, image: str) -> bytes:
        """The encoded bytes of an image.

        Raises:
            InputError: for files that cannot be read or are others than were indexed, or a full disk.
        """
        with self._lock:
            if self._file is None:
                self._file = self._fill()
                weakref.finalize(self, self._file.close)
        start, length = self._spans[image]
        return os.pread(self._file.fileno(), length, start)

    def _fill(self) -> IO[bytes]:
        wanted: dict[tuple[str, int], dict[int, str]] = {}
        for image, place in self._places.items():
            wanted.setdefault((place.file, place.row_group), {})[place.offset] = image
        file = self._temporary()
        end = 0
        for (name, row_group), offsets in sorted(wanted.items()):
            last = max(offsets)
            for offset, row in enumerate(cells(self._folder / name, row_group, ["image"])):
                if offset in offsets:
                    data = image_bytes(row["image"])
                    if image_id(data) != offsets[offset]:
                        raise InputError(
                            f"{self._folder / name}: other images than were indexed; delete "
                            f"{self._folder / 'index.parquet'} and run `snakemake fetch`"
                        )
                    self._write(file, data)
                    self._spans[offsets[offset]] = end, len(data)
                    end += len(data)
                if offset == last:
                    break
        file.flush()
        pa.default_memory_pool().release_unused()  # a page of a large row group
        return file

    def _temporary(self) -> IO[bytes]:
        try:
            return tempfile.TemporaryFile(dir=self._folder, prefix=".images-")
        except OSError:
            return tempfile.TemporaryFile(prefix="sparsemm-images-")

    def _write(self, file: IO[bytes], data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise InputError(
                f"{self._folder}: no room for a shard's images ({error.strerror}); free some, or raise "
                "benchmarks.<name>.shards"
            ) from error
