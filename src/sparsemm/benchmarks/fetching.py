"""Fetching a benchmark's data set: locked, the split's files as they are, an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sparsemm.benchmarks.stored import Join, Stored, index_rows
from sparsemm.sources.fetching import fetch_split
from sparsemm.sources.obtain import locked_source


class HubData(Protocol):
    """What a benchmark of the hub says about its data.

    hub: ids, in the order in which they are tried. config, split, columns, join: as `Stored` has them.
    """

    @property
    def name(self) -> str: ...
    @property
    def hub(self) -> Sequence[str]: ...
    @property
    def config(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def join(self) -> Join | None: ...


def fetch_benchmark(
    benchmark: HubData,
    folder: str | Path,
    lock: str | Path,
    *,
    hub: Sequence[str] | None = None,
    revision: str = "main",
) -> Path:
    """Fetch a benchmark's split, and the split of its images where it joins, and index them.

    Args:
        benchmark: of the hub.
        folder: where the files go.
        lock: the lock file; a data set that it lacks is added to it.
        hub: ids to try, in place of the benchmark's own.
        revision: that they are locked at.

    Returns:
        The path of the index.

    Raises:
        InputError: no access, no such split, changed columns, a full disk, and the rest of what a fetch can meet.
    """
    source = locked_source(lock, "dataset", hub or benchmark.hub, revision)
    files = fetch_split(source, benchmark.config, benchmark.split, folder)
    join = benchmark.join
    join_files = fetch_split(source, join.config, join.split, folder) if join else []
    stored = Stored(benchmark.name, benchmark.config, benchmark.split, benchmark.columns, join)
    return index_rows(stored, folder, files, join_files, {"id": source.id, "commit": source.commit})
