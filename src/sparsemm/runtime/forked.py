"""Call a function in a forked child process, which starts with all modules imported and has its own memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from sparsemm.errors import InputError
from sparsemm.runtime.parents import end_with_parent

Result = TypeVar("Result")


def call_in_fork(function: Callable[[], Result], what: str) -> Result:
    """The result of ``function()`` in a forked child process.

    The caller must not have run torch operations on several threads nor initialised CUDA: neither survives a fork.

    Args:
        what: names the work in errors.

    Raises:
        InputError: raised by the function, or the child was killed by a signal (most likely out of memory).
        RuntimeError: the child failed otherwise; its traceback is on standard error.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(function, sender))
    child.start()
    sender.close()
    try:
        kind, value = receiver.recv()
    except EOFError:
        kind, value = "died", None
    child.join()
    if kind == "result":
        return value  # type: ignore[no-any-return]
    if kind == "input":
        raise InputError(value)
    if child.exitcode is not None and child.exitcode < 0:
        raise InputError(
            f"{what}: the process was killed by signal {-child.exitcode}; free memory or ask for fewer tokens"
        )
    raise RuntimeError(f"{what}: the process failed (exit status {child.exitcode})")


def _run(function: Callable[[], Any], sender: Connection) -> None:
    end_with_parent()
    try:
        message = ("result", function())
    except InputError as error:
        message = ("input", str(error))
    sender.send(message)
