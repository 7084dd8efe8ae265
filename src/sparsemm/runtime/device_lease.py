"""Lease of GPUs by one job on a machine with several: a lock file per GPU, taken before torch is imported.

Snakemake limits how many GPU jobs run at once but does not assign GPUs. A job therefore takes GPUs whose locks are free
and hides the others from CUDA; where too few are free it waits. One job at a time chooses, behind a gate that is a lock
too: it may hold some GPUs while it waits for more, nobody else then holds a part of what it wants, so no two jobs wait
for each other, however many GPUs they take.

A scheduler (Slurm, a container runtime) that sets CUDA_VISIBLE_DEVICES to as many devices as the job takes has chosen:
no lock is taken. Of more devices than that, a job leases some.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from sparsemm.errors import InputError
from sparsemm.runtime.gpus import list_devices, used_share
from sparsemm.runtime.locks import Lock, holder_of, try_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
CHOICES = ("auto", "cpu", "cuda")
STRANGE = 0.25  # of a GPU's memory in use although its lock is free: somebody who takes no leases is at work
_NONE = ("", "-1", "NoDevFiles")  # what a scheduler says where there is no GPU
_SAID_EVERY = 60.0  # seconds
_LOOKED_EVERY = 0.5  # seconds


@dataclass
class Lease:
    """The devices that a job may use; a context manager that releases them.

    Attributes:
        device: "cpu" or "cuda".
        uuids: the locked GPUs; none if a scheduler chose, or on a CPU.
    """

    device: str
    uuids: tuple[str, ...] = ()
    locks: list[Lock] = field(default_factory=list, repr=False)

    def release(self) -> None:
        """Release the locks, if any are held; may be called twice."""
        for lock in self.locks:
            lock.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass
class Waiting:
    """How a job waits, and whom it tells.

    Attributes:
        report: called with a line at once, then every minute.
        pause: called with seconds between two looks.
        clock: seconds, of a clock that is never set back.
    """

    report: Callable[[str], None] = print
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _said: float | None = None

    def tell(self, line: str) -> None:
        """Report that the wait goes on, if it is time to, and pause."""
        now = self.clock()
        if self._said is None or now - self._said >= _SAID_EVERY:
            self._said = now
            self.report(line)
        self.pause(_LOOKED_EVERY)


def lease_device(
    want: str = "auto",
    *,
    gpus: int = 1,
    devices: Sequence[str] | None = None,
    environ: MutableMapping[str, str] = os.environ,
    lock_dir: str | Path | None = None,
    holder: str = "a job",
    waiting: Waiting | None = None,
    used: Callable[[str], float | None] = used_share,
) -> Lease:
    """Lease devices for this process, and wait for them; call it before torch is imported.

    Args:
        want: "cpu", "cuda" (an error without a GPU) or "auto" (a GPU if there is one).
        gpus: GPUs that the job takes; 0 means CPU whatever `want` says (`--resources gpu=0`).
        devices: the GPUs to choose from, as CUDA names them; default `list_devices()`.
        environ: where CUDA_VISIBLE_DEVICES is read and set.
        lock_dir: folder of the lock files; default the system's folder for temporary files.
        holder: what other jobs are told of this one while they wait.
        waiting: how to wait; prints by default.
        used: share of a GPU's memory in use, or None where it is not known.

    Raises:
        InputError: `want` is unknown; no GPU although "cuda" is asked for; the machine has fewer GPUs than the job
            takes.
    """
    if want not in CHOICES:
        raise InputError(f"device: {want!r} is unknown; choose one of {', '.join(CHOICES)}")
    if want == "cpu" or gpus <= 0:
        environ[VISIBLE] = ""
        return Lease("cpu")
    known = list_devices() if devices is None else list(devices)
    if VISIBLE in environ:
        chosen = [name.strip() for name in environ[VISIBLE].split(",")]
        chosen = [] if chosen[0] in _NONE else chosen
        if chosen and len(chosen) == gpus:
            return Lease("cuda")
        named = {name: _uuid(name, known) for name in chosen}
    else:
        named = {uuid: uuid for uuid in known}
    if not named:
        if want == "cuda":
            raise InputError("device: cuda was asked for but no GPU is visible; use device: cpu or auto")
        return Lease("cpu")
    if len(named) < gpus:
        raise InputError(
            f"device: the job takes {gpus} GPUs and {len(named)} can be seen; lower the rule's gpu, or run it elsewhere"
        )
    folder = Path(tempfile.gettempdir() if lock_dir is None else lock_dir)
    waiting = waiting or Waiting()
    with _gate(folder / "sparsemm-gate.lock", holder, waiting):
        taken = _take(named, gpus, folder, holder, waiting, used)
    environ[VISIBLE] = ",".join(taken)
    return Lease("cuda", tuple(named[name] for name in taken), list(taken.values()))


def _uuid(name: str, known: Sequence[str]) -> str:
    """The GPU that a scheduler names by its number; any other name stands for itself."""
    return known[int(name)] if name.isdigit() and int(name) < len(known) else name


def _path(folder: Path, uuid: str) -> Path:
    return folder / f"sparsemm-{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"


@contextmanager
def _gate(path: Path, holder: str, waiting: Waiting) -> Iterator[None]:
    """Inside, no other job chooses."""
    while (lock := try_lock(path, holder)) is None:
        waiting.tell(f"device: waiting until {holder_of(path)} has its GPUs")
    try:
        yield
    finally:
        lock.release()


def _take(
    named: dict[str, str],
    count: int,
    folder: Path,
    holder: str,
    waiting: Waiting,
    used: Callable[[str], float | None],
) -> dict[str, Lock]:
    """Locks of `count` GPUs by their names, in the order in which they became free."""
    taken: dict[str, Lock] = {}
    try:
        while True:
            strangers: list[str] = []
            for name, uuid in named.items():
                if name in taken or len(taken) == count:
                    continue
                lock = try_lock(_path(folder, uuid), holder)
                if lock is None:
                    continue
                share = used(uuid)
                if share is not None and share > STRANGE:
                    lock.release()
                    strangers.append(
                        f"{uuid}: {share:.0%} of its memory is used by a program without a lease"
                    )
                    continue
                taken[name] = lock
            if len(taken) == count:
                return taken
            held = [uuid for name, uuid in named.items() if name not in taken]
            told = {line.split(":")[0] for line in strangers}
            jobs = [f"{uuid}: {holder_of(_path(folder, uuid))}" for uuid in held if uuid not in told]
            missing = count - len(taken)
            waiting.tell(
                f"device: waiting for {missing} of {len(named)} GPUs ({'; '.join(jobs + strangers)})"
            )
    except BaseException:
        for lock in taken.values():
            lock.release()
        raise
