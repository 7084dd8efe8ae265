"""The lock file: which commit and which files of every model and data set a run uses, with sizes and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write

LOCK_FILE = "config/sources.lock.yaml"  # of a project
KINDS = ("model", "dataset")
_BLOCK = 1 << 20  # bytes read at once
_HEAD = (
    "# Revisions and files that runs use; made by `snakemake lock` or the first fetch. Delete an entry to take a newer "
    "one.\n"
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it: ten times as fast


@dataclass(frozen=True)
class LockedFile:
    """What a file must be: its size in bytes and its checksum by the hub, sha256 (LFS) or git's sha1 (others)."""

    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Source:
    """A repository of the hub at one commit.

    Attributes:
        kind: "model" or "dataset".
        id: the hub id, `owner/name`.
        revision: the branch, tag or commit that was asked for.
        commit: what it stood for when it was locked, 40 hex digits.
        files: every file by its path in the repository.
        gated: whether its files are for those who accepted a licence; not in the lock file.
    """

    kind: str
    id: str
    revision: str
    commit: str
    files: dict[str, LockedFile]
    gated: bool = field(default=False, compare=False)


def read_lock(path: str | Path) -> dict[tuple[str, str], Source]:
    """The sources of a lock file by (kind, hub id); empty where there is no file.

    Raises:
        InputError: for a file that is no lock file, or an entry that lacks something.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the lock file cannot be read; delete it and run `snakemake lock`"
        ) from error
    try:
        tables = yaml.load(text, Loader=_LOADER) or {}
        return {
            (kind, name): _source(kind, name, entry)
            for kind in KINDS
            for name, entry in (tables.get(f"{kind}s") or {}).items()
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a lock file; delete it and run `snakemake lock`") from error


def write_lock(path: str | Path, sources: Iterable[Source]) -> None:
    """Write the lock file, sorted by kind and id, atomically.

    Raises:
        InputError: where the file cannot be written.
    """
    tables: dict[str, dict[str, Any]] = {f"{kind}s": {} for kind in KINDS}
    for source in sorted(sources, key=lambda source: (source.kind, source.id)):
        files = {
            name: {key: value for key, value in vars(file).items() if value is not None}
            for name, file in sorted(source.files.items())
        }
        tables[f"{source.kind}s"][source.id] = {
            "revision": source.revision,
            "commit": source.commit,
            "files": files,
        }
    with atomic_write(path) as partial:
        partial.write_text(_HEAD + yaml.safe_dump(tables, sort_keys=False, width=200), encoding="utf-8")


def matches(path: Path, locked: LockedFile) -> bool:
    """Whether a file is there with the size and the checksum of its lock entry."""
    if not path.is_file() or path.stat().st_size != locked.size:
        return False
    if locked.sha256 is not None:
        return _digest(path, hashlib.sha256()) == locked.sha256
    return _digest(path, hashlib.sha1(b"blob %d\0" % locked.size)) == locked.git_sha1


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return str(digest.hexdigest())


def _source(kind: str, name: str, entry: dict[str, Any]) -> Source:
    files = {}
    for path, facts in entry["files"].items():
        file = LockedFile(int(facts["size"]), facts.get("sha256"), facts.get("git_sha1"))
        if (file.sha256 is None) == (file.git_sha1 is None):
            raise ValueError(f"{path} needs one checksum")
        files[str(path)] = file
    return Source(kind, name, str(entry["revision"]), str(entry["commit"]), files)
