"""Atomic writes: a file appears complete under its name or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sparsemm.errors import InputError

PARTIAL = ".partial"  # how the names of temporary files end


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` when the block ends, removed if it fails.

    Makes the folder if it is missing.

    Raises:
        InputError: the folder or the file cannot be written.
    """
    target = Path(path)
    # A fixed name: the next run overwrites what a killed run left behind.
    partial = target.with_name(f".{target.name}{PARTIAL}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or ["unknown"])[0]
        raise InputError(f"{path}: cannot be written ({reason}); make the results folder writable") from error
    finally:
        with contextlib.suppress(OSError):  # do not hide the first error behind one of the cleanup
            partial.unlink(missing_ok=True)
