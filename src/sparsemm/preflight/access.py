"""Whether this user may read the repositories of the hub that a run needs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sparsemm.benchmarks.named import Named
from sparsemm.errors import InputError
from sparsemm.sources.hub import check_access, fetch
from sparsemm.sources.lock import Source, read_lock
from sparsemm.sources.obtain import find_locked, resolve_first

_AT_ONCE = 8  # a hub out of reach is waited for once, not once a repository


@dataclass(frozen=True)
class Found:
    """What the hub said.

    Attributes:
        named: what was asked for.
        source: what the first id that answered holds; None with a fault, and where nothing was asked.
        fault: one line.
    """

    named: Named
    source: Source | None = None
    fault: str = ""

    @property
    def says(self) -> str:
        """A few words for the report."""
        if self.fault:
            return "no access"
        if self.source is None:
            return "not needed: the files are there"
        return "gated, opened by the token" if self.source.gated else "open"


def ask(named: Sequence[Named], lock: Path) -> list[Found]:
    """Ask the hub about every repository whose files are not there yet.

    Args:
        named: the repositories.
        lock: the lock file; what it names is asked for at the locked commit.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda each: _ask(each, lock), named))


def text_of(source: Source, name: str) -> str:
    """A small text file of a repository, such as config.json; "" where it has none. Nothing stays on the disk."""
    if name not in source.files:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        return (fetch(source, [name], folder) / name).read_text(encoding="utf-8", errors="replace")


def _ask(named: Named, lock: Path) -> Found:
    if named.there:
        return Found(named)
    kind, ids, revision = named.wanted
    try:
        locked = find_locked(lock, read_lock(lock), kind, ids, revision)
        if locked is not None:
            ids, revision = (locked.id,), locked.commit
        source = resolve_first(kind, ids, revision)
        if source.gated:
            check_access(source)
        if kind == "model":
            _check_model(source)
        return Found(named, source)
    except InputError as error:
        return Found(named, fault=f"{named.key}: {error}")


def _check_model(source: Source) -> None:
    if "config.json" not in source.files:
        raise InputError(f"model {source.id}: no config.json; give a transformers model")
    if not any(name.endswith(".safetensors") for name in source.files):
        raise InputError(
            f"model {source.id}: no safetensors weights, and no others are loaded; give a revision with them"
        )
