"""Runs of Snakemake that are killed, and what they said before."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", flags=re.MULTILINE)
_FINISHED = re.compile(r"^Finished jobid: (\d+) ", flags=re.MULTILINE)
_PATIENCE = 3600.0  # seconds until a run that neither ends nor reaches a job is given up


class Started(NamedTuple):
    """A job that a run started: its number in that run, its rule, its files, and where Snakemake writes its time."""

    number: int
    rule: str
    outputs: tuple[str, ...]
    times: str


def started(said: str) -> list[Started]:
    """The jobs that a run started, in order, from its stderr."""
    found = []
    for rule, block in _BLOCK.findall(said):
        facts = dict(re.findall(r"^    (\w+): (.*)$", block, flags=re.MULTILINE))
        if "output" in facts:
            outputs = tuple(path.split(" (")[0] for path in facts["output"].split(", "))
            found.append(Started(int(facts["jobid"]), rule, outputs, facts.get("benchmark", "")))
    return found


def under_way(said: str) -> list[str]:
    """The rules whose jobs a run had started and not finished."""
    done = {int(number) for number in _FINISHED.findall(said)}
    return [job.rule for job in started(said) if job.number not in done]


class Run:
    """Snakemake in a session of its own, so that it can be killed with all its jobs.

    Args:
        project: folder to run in.
        arguments: of Snakemake.
        environment: besides this process's.
    """

    def __init__(self, project: Path, *arguments: str, **environment: str) -> None:
        self._file = project.parent / f"{project.name}.stderr"  # a pipe would be held open by orphans
        with self._file.open("w") as file:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
                cwd=project,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return self._file.read_text(encoding="utf-8", errors="replace")

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._child.poll()

    @property
    def under_way(self) -> list[str]:
        """The rules whose jobs it has started and not finished."""
        return under_way(self.said)

    def starts(self, output: str) -> bool:
        """Wait until it starts the job of an output; False if it ends before.

        Raises:
            TimeoutError: where neither happens.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            ended = self.code is not None
            if any(output in job.outputs for job in started(self.said)):
                return True
            if ended:
                return False
            time.sleep(0.1)
        raise TimeoutError(f"no job of {output} in {_PATIENCE:.0f} s:\n{self.said[-4000:]}")

    def pause(self) -> None:
        """Stop it where it is, with its jobs."""
        os.killpg(self._child.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.killpg(self._child.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._child.wait(_PATIENCE)

    def kill(self, *, jobs_too: bool = True) -> None:
        """kill -9 of Snakemake, with its jobs or without."""
        if jobs_too:
            self.kill_left()
        else:
            self._child.kill()
        self._child.wait()

    def ends_with_its_jobs(self, patience: float = 60.0) -> bool:
        """Whether no process of its session is left, soon after its end."""
        end = time.monotonic() + patience
        while self._session():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def _session(self) -> list[str]:
        """The states of the processes of its session; those that only wait to be reaped do not count."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, session = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
                if int(session) == self._child.pid and state != "Z":
                    found.append(state)
        return found

    def kill_left(self) -> None:
        """Kill what is left of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
