"""Work in parts that survive a kill: each finished part is a file that appears whole, under the name of its work."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sparsemm.results.files import atomic_write

Rows = list[dict[str, Any]]


def fingerprint(**facts: Any) -> str:
    """A short digest of everything that a part's content depends on, this package's code included."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Parts:
    """Parts of one piece of work in a folder, or nowhere if there is none."""

    def __init__(self, folder: str | Path | None, facts: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.key = "" if folder is None else fingerprint(**facts)

    def get(self, number: int, make: Callable[[], Rows]) -> Rows:
        """The rows of part ``number``: read back if an earlier run finished it, else made and stored.

        Raises:
            InputError: when the folder cannot be written.
        """
        if self.folder is None:
            return make()
        file = self.folder / f"part-{self.key}-{number:05d}.json"
        try:
            rows: Rows = json.loads(file.read_text(encoding="utf-8"))
            return rows
        except (OSError, ValueError):  # absent, or not ours: make it (again)
            rows = make()
        with atomic_write(file) as partial:
            partial.write_text(json.dumps(rows), encoding="utf-8")
        return rows


def discard(folder: str | Path | None) -> None:
    """Remove the parts once their result is written; nothing happens if there are none."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
