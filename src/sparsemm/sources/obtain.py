"""The locked source of a repository: out of the lock file, or resolved and added to it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sparsemm.errors import InputError
from sparsemm.sources.hub import UnknownSource, resolve
from sparsemm.sources.lock import Source, read_lock, write_lock


class Wanted(NamedTuple):
    """A source that a run uses. ids: in the order in which they are tried."""

    kind: str
    ids: tuple[str, ...]
    revision: str = "main"


def resolve_first(kind: str, ids: Sequence[str], revision: str = "main") -> Source:
    """What the first of some ids holds that the hub knows: one that it does not know goes on to the next.

    Raises:
        InputError: where it knows none, or the first that it knows is gated; and a hub that cannot be reached.
    """
    faults: list[UnknownSource] = []
    for name in ids:
        try:
            return resolve(kind, name, revision)
        except UnknownSource as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    raise UnknownSource("; ".join(str(fault) for fault in faults))


def locked_source(path: str | Path, kind: str, ids: Sequence[str], revision: str = "main") -> Source:
    """The source that the lock file has under one of some ids; where it has none, it is resolved and added.

    Several processes may do so at once.

    Raises:
        InputError: for a source that is locked at another revision, and as `resolve_first`.
    """
    found = find_locked(path, read_lock(path), kind, ids, revision)
    if found is not None:
        return found
    resolved = resolve_first(kind, ids, revision)
    with _alone(Path(path)):
        sources = read_lock(path)
        found = find_locked(path, sources, kind, ids, revision)
        if found is None:
            write_lock(path, [*sources.values(), resolved])
    return found or resolved


def lock_all(path: str | Path, wanted: Sequence[Wanted]) -> list[Source]:
    """Complete the lock file: what it has at the revision that is wanted stays, all else is resolved.

    Returns:
        The sources, in the order of `wanted`.

    Raises:
        InputError: as `resolve_first`; the lock file is then as it was.
    """
    found: dict[Wanted, Source] = {}
    for each in dict.fromkeys(wanted):
        try:
            locked = find_locked(path, read_lock(path), *each)
        except InputError:  # at another revision
            locked = None
        found[each] = locked or resolve_first(*each)
    with _alone(Path(path)):
        sources = read_lock(path)
        for each, source in found.items():
            others = {(each.kind, name) for name in each.ids}
            sources = {key: value for key, value in sources.items() if key not in others}
            sources[source.kind, source.id] = source
        write_lock(path, sources.values())
    return [found[each] for each in wanted]


def find_locked(
    path: str | Path,
    sources: Mapping[tuple[str, str], Source],
    kind: str,
    ids: Sequence[str],
    revision: str = "main",
) -> Source | None:
    """The source that a lock has under one of some ids, the first first; None without one.

    Raises:
        InputError: for a source that is locked at another revision.
    """
    for name in ids:
        source = sources.get((kind, name))
        if source is not None:
            if revision not in (source.revision, source.commit):
                raise InputError(
                    f"{path}: {kind} {name} is locked at revision {source.revision!r}, the configuration asks for "
                    f"{revision!r}; delete its entry there or run `snakemake lock`"
                )
            return source
    return None


def check_commit(path: str | Path, kind: str, name: str, commit: str, marker: str | Path) -> None:
    """Check that what was fetched is what the lock file names; one that does not name it has no objection.

    Args:
        path: the lock file.
        kind: "model" or "dataset".
        name: the hub id.
        commit: that was fetched.
        marker: the file that says so.

    Raises:
        InputError: for another commit.
    """
    locked = read_lock(path).get((kind, name))
    if locked is not None and locked.commit != commit:
        raise InputError(
            f"{marker}: holds {kind} {name} at commit {commit[:12]}, {path} names {locked.commit[:12]}; delete "
            "the former and run `snakemake fetch`"
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the lock file meanwhile."""
    guard = path.with_name(f".{path.name}.guard")
    try:
        guard.parent.mkdir(parents=True, exist_ok=True)
        file = guard.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); make its folder writable") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process
        yield
