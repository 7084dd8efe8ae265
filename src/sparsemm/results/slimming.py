"""A small copy of a run's result files, from which every table and figure can be made again: a reference run.

Values, column types and what each file says of its making stay as they are, but for the digests of the files it was made
from. What no table or figure reads is left out, and of the probe set only the first pages are kept, as a picture shows
one of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write
from sparsemm.results.parquet import read_metadata, with_metadata
from sparsemm.results.verify import result_files

PAGES = 24
# Images and patch maps of the further probe sets: figures of these read their scores and attention maps.
LEFT_OUT = ("probe/sets/", "patches/sets/")
FIRST_OF = "first_of"  # in a shortened file's metadata: how many rows the run's own file has


class Slimmed(NamedTuple):
    """What a small copy holds.

    Attributes:
        files: result files written.
        left_out: result files of the run that are not in the copy.
        bytes_before: of all result files of the run.
        bytes_after: of the copy.
    """

    files: int
    left_out: int
    bytes_before: int
    bytes_after: int


def slim_run(run: str | Path, folder: str | Path, *, pages: int = PAGES) -> Slimmed:
    """Copy what tables, figures and the page need of a run; the folder appears complete or not at all.

    Args:
        run: folder of a finished run.
        folder: to write, which must not be there or be empty.
        pages: first pages of the probe set that are kept.

    Raises:
        InputError: for a folder that is no run, a file that cannot be read, and a folder that is not empty.
    """
    base, target = Path(run), Path(folder)
    found = result_files(base)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: is there and not empty; remove it, or choose another folder")
    kept = [path for path in found if not path.relative_to(base).as_posix().startswith(LEFT_OUT)]
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for path in kept:
            _rewrite(path, partial / path.relative_to(base), pages)
        after = sum((partial / path.relative_to(base)).stat().st_size for path in kept)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose a writable folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Slimmed(len(kept), len(found) - len(kept), sum(path.stat().st_size for path in found), after)


def _rewrite(source: Path, target: Path, pages: int) -> None:
    """Write a result file anew, as small as parquet makes it."""
    facts = read_metadata(source)  # also: one clear line for a file that is none of ours
    try:
        with pq.ParquetFile(source) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source}: truncated or no parquet file; delete it and make it again") from error
    # The digests are of the run's own files, whose bytes are not those of the copies.
    said: dict[str, Any] = {name: value for name, value in facts.items() if name != "inputs"}
    if facts.get("kind") == "probe" and len(table) > pages:
        said[FIRST_OF] = facts.get(FIRST_OF, len(table))
        table = table.slice(0, pages)
    table = with_metadata(table, said)
    # Brotli at its best beats zstd at its best by 3 % on a default run's files. What a file says of its making is part of
    # arrow's copy of the schema, which is a third of a small file and has to stay.
    with atomic_write(target) as partial:
        pq.write_table(
            table,
            partial,
            compression="brotli",
            compression_level=11,
            use_dictionary=True,
            write_statistics=False,
            version="2.6",
            data_page_version="1.0",
        )
