"""Resume for long work: each finished part is a JSON file with a digest of its rows, read back by the next run."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparsemm.results.files import atomic_write

Rows = list[dict[str, Any]]


class ResumableWork:
    """Work in numbered parts. A part that an earlier run finished is read back, any other is made and stored.

    A part is used only if it was made from the same facts, the same inputs and the same code of this package, and if
    its file is intact.
    """

    def __init__(self, folder: str | Path | None, facts: Mapping[str, Any]) -> None:
        """
        Args:
            folder: where the parts are stored; None stores nothing.
            facts: everything that all parts depend on (model, settings, data); JSON-able, or told apart by `str`.
        """
        self._folder = None if folder is None else Path(folder)
        self._key = "" if folder is None else _fingerprint(facts)

    def get(self, number: int, make: Callable[[], Rows], inputs: str = "") -> Rows:
        """The rows of part ``number``.

        Args:
            make: computes the rows; they must be JSON-able.
            inputs: digest of what this part alone depends on. Without it a part depends on the facts only.

        Returns:
            The rows after a round trip through JSON, which leaves floats exact: a resumed run and an uninterrupted
            one get the same.

        Raises:
            InputError: the folder cannot be written.
        """
        if self._folder is None:
            return _round_trip(make())
        file = self._folder / f"part-{self._key}-{number:05d}.json"
        rows = _read(file, inputs)
        if rows is None:
            rows = _round_trip(make())
            with atomic_write(file) as partial:
                part = {"sha256": _digest(rows, inputs), "rows": rows}
                partial.write_text(json.dumps(part), encoding="utf-8")
        return rows


def discard(folder: str | Path | None) -> None:
    """Remove the stored parts, once their result is written; a missing folder is no error."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _read(file: Path, inputs: str) -> Rows | None:
    """The rows of a part's file, or None if it is missing, damaged or made from other inputs."""
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
        rows: Rows = part["rows"]
        intact = part["sha256"] == _digest(rows, inputs)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return rows if intact else None


def _digest(rows: Rows, inputs: str) -> str:
    """sha256 over the rows and the digest of their inputs."""
    return hashlib.sha256(json.dumps([inputs, rows]).encode()).hexdigest()


def _round_trip(rows: Rows) -> Rows:
    read: Rows = json.loads(json.dumps(rows))
    return read


def _fingerprint(facts: Mapping[str, Any]) -> str:
    """16 hex digits over the facts and this package's code."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256((text + _code_digest()).encode()).hexdigest()[:16]


@functools.cache
def _code_digest() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()
