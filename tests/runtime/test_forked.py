"""Functions in processes of their own."""

from __future__ import annotations

import os
import signal

import pytest

from sparsemm.errors import InputError
from sparsemm.runtime.forked import call_in_fork


def test_the_result_comes_from_another_process() -> None:
    assert call_in_fork(lambda: os.getpid(), "pid") != os.getpid()


def test_bad_input_in_the_child_is_bad_input_here() -> None:
    def refuse() -> None:
        raise InputError("efficiency.tokens: 1 is too small; use 300 or more")

    with pytest.raises(InputError, match="use 300 or more"):
        call_in_fork(refuse, "cell")


def test_a_killed_child_is_named() -> None:
    with pytest.raises(InputError, match="fullkv at 32768 tokens: the process was killed by signal 9"):
        call_in_fork(lambda: os.kill(os.getpid(), signal.SIGKILL), "fullkv at 32768 tokens")


def test_a_failing_child_fails_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="cell: the process failed"):
        call_in_fork(lambda: 1 / 0, "cell")
    assert "ZeroDivisionError" in capfd.readouterr().err
