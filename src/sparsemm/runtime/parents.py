"""A process that ends with the one that started it.

A job whose Snakemake was killed would go on: it would keep its GPU, and write the same files as the job that the next
run starts in its place.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from pathlib import Path

_SHELLS = ("sh", "bash", "dash")
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_program() -> bool:
    """Kill this process as soon as the program that started it is gone, through a shell or not.

    Returns:
        Whether the program is watched; this takes Linux 5.3 or later.
    """
    found = _program()
    if found is None or not hasattr(os, "pidfd_open"):
        return False
    try:
        descriptor = os.pidfd_open(found)
    except OSError:
        return False
    threading.Thread(target=_end_with, args=(descriptor,), daemon=True, name="end_with_program").start()
    return True


def end_with_parent() -> None:
    """Kill this process, a child of the caller's, as soon as its parent is gone; nothing outside Linux."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _program() -> int | None:
    """The first ancestor that is no shell."""
    pid = os.getppid()
    try:
        while pid > 1:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            before, _, after = stat.rpartition(")")  # a name may hold spaces and brackets
            if before.partition("(")[2] not in _SHELLS:
                return pid
            pid = int(after.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def _end_with(descriptor: int) -> None:
    """Wait for the end of a process, without polling, and follow it."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    waiting.poll()
    os.kill(os.getpid(), signal.SIGKILL)
