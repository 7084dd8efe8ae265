"""A job ends with the Snakemake that started it, through a shell or not; a forked measurement ends with its job."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd is Linux's")

# A program that starts a job as Snakemake does, by bash, and waits for it. The job says its number, and waits.
_JOB = """
import os, sys, time
from sparsemm.runtime.parents import end_with_program
assert end_with_program()
print(os.getpid(), flush=True)
time.sleep(600)
"""
_PROGRAM = """
import subprocess, sys
subprocess.run(["bash", "-c", 'set -e; "$0" -c "$1"{then}', sys.executable, sys.argv[1]])
"""
_FORKED = """
import multiprocessing, os, time
from sparsemm.runtime.parents import end_with_parent
def child():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
"""


def ends_when_its_program_is_killed(code: str, *arguments: str) -> bool:
    program = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program.stdout:
        job = int(program.stdout.readline())
        descriptor = os.pidfd_open(job)
        program.kill()
        program.wait()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        ended = bool(waiting.poll(60_000))
        if not ended:
            os.kill(job, signal.SIGKILL)
        os.close(descriptor)
    return ended


@pytest.mark.parametrize("then", ["", "; true"])  # without more to do, bash becomes the job
def test_a_job_ends_with_its_program(then: str) -> None:
    assert ends_when_its_program_is_killed(_PROGRAM.replace("{then}", then), _JOB)


def test_a_forked_child_ends_with_its_parent() -> None:
    assert ends_when_its_program_is_killed(_FORKED)
