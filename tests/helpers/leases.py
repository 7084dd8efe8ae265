"""Four processes on two made-up GPUs, killed at random: `python tests/helpers/leases.py ROUNDS [SEED]`."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from sparsemm.runtime.device_lease import Waiting, lease_device

GPUS = ("GPU-a", "GPU-b")
JOBS = 4
_STUCK = 20.0  # seconds after which a round that is not over is stuck


def _job(folder: Path, number: int, gpus: int, seconds: float) -> None:
    """Lease, check with other locks that nobody else has the same devices, work, release."""
    said: list[str] = []
    paused: list[float] = []

    def pause(_: float) -> None:
        paused.append(0.0)
        time.sleep(0.002)

    environ: dict[str, str] = {}
    with lease_device(
        "cuda",
        gpus=gpus,
        devices=GPUS,
        environ=environ,
        lock_dir=folder,
        holder=f"job {number}",
        waiting=Waiting(said.append, pause),
        used=lambda uuid: None,
    ) as lease:
        if paused and not said:
            (folder / f"silent-{os.getpid()}").touch()
        checks = [(folder / f"check-{uuid}").open("a") for uuid in lease.uuids]
        for check in checks:
            try:
                fcntl.lockf(check, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                (folder / f"double-{os.getpid()}").touch()
        time.sleep(seconds)
        for check in checks:
            check.close()


def rounds(count: int, *, seed: int, folder: Path) -> dict[str, int]:
    """Rounds in which something went wrong: two jobs had one device, a job never got one, a job waited in silence."""
    rng, stuck = random.Random(seed), 0
    for _ in range(count):
        children = []
        for number in range(JOBS):
            gpus, seconds = rng.choice((1, 1, 2)), rng.uniform(0, 0.02)
            pid = os.fork()
            if pid == 0:
                try:
                    _job(folder, number, gpus, seconds)
                finally:
                    os._exit(0)
            children.append(pid)
        for victim in rng.sample(children, rng.randint(0, 2)):
            time.sleep(rng.uniform(0, 0.02))
            os.kill(victim, signal.SIGKILL)
        stuck += not _all_end(children)
    return {
        "double": len(list(folder.glob("double-*"))),
        "stuck": stuck,
        "silent": len(list(folder.glob("silent-*"))),
    }


def _all_end(children: list[int]) -> bool:
    """Wait for processes; those that do not end in time are killed."""
    left, until = set(children), time.monotonic() + _STUCK
    while left and time.monotonic() < until:
        left -= {pid for pid in left if os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(0.001)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return not left


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asked = int(sys.argv[1])
        print(asked, "rounds:", rounds(asked, seed=int((sys.argv[2:] or ["0"])[0]), folder=Path(made)))
