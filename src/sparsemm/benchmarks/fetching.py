"""Fetching a benchmark's data set: locked, the split's files as they are, and an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsemm.benchmarks.stored import Stored, index_rows
from sparsemm.sources.fetching import fetch_split
from sparsemm.sources.obtain import locked_source


def fetch_rows(
    stored: Stored, folder: str | Path, lock: str | Path, hub: Sequence[str], revision: str = "main"
) -> Path:
    """Fetch a data set's split, and the split of its images where it joins, and index them.

    Args:
        stored: what is read of the data set.
        folder: where the files go.
        lock: the lock file; a data set that it lacks is added to it.
        hub: ids, in the order in which they are tried.
        revision: that they are locked at.

    Returns:
        The path of the index.

    Raises:
        InputError: no access, no such split, changed columns, a full disk, and what else a fetch can meet.
    """
    source = locked_source(lock, "dataset", hub, revision)
    files = fetch_split(source, stored.config, stored.split, folder)
    join = stored.join
    join_files = fetch_split(source, join.config, join.split, folder) if join else []
    return index_rows(stored, folder, files, join_files, {"id": source.id, "commit": source.commit})
