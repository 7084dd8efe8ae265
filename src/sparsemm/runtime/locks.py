"""Locks between processes of one machine, which the kernel releases when their holder ends in any way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Lock:
    """A held `flock` on an open file."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Release it; may be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def try_lock(path: Path, holder: str) -> Lock | None:
    """The lock if no other process holds it.

    Args:
        path: the file, made if it is not there; another user's will do.
        holder: who is to be told of to those who wait, one line.
    """
    try:
        # Read-only is enough for flock and works on a file that another user made.
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    # Another user's file, or a full disk: the lock holds all the same.
    with contextlib.suppress(OSError):
        since = time.strftime("%F %T")
        path.write_text(f"{holder}, process {os.getpid()}, since {since}\n", encoding="utf-8")
    return Lock(path, descriptor)


def holder_of(path: Path) -> str:
    """Who took the lock last, as far as the file says; only asked while it is held."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:300].strip() or "a job of another user"
    except OSError:
        return "a job of another user"
