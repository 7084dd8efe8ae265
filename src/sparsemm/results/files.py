"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sparsemm.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; named `path` when the block ends, removed if it fails.

    Makes the folder. Raises InputError where folder or file cannot be written.
    """
    target = Path(path)
    # A fixed name: what a killed run left behind is overwritten by the next.
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or ["unknown"])[0]
        raise InputError(f"{path}: cannot be written ({reason}); make the results folder writable") from error
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written is what the caller is told
            partial.unlink(missing_ok=True)
