"""Lease of one GPU by one job on a machine with several: a lock file per GPU, taken before torch is imported.

Snakemake limits how many GPU jobs run at once but does not assign GPUs. A job therefore takes the first GPU whose lock
is free and hides the others from CUDA. The lock is a `flock` on an open file, which the kernel releases when the
process ends in any way. If a scheduler (Slurm, a container runtime) has set CUDA_VISIBLE_DEVICES, no lock is taken.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sparsemm.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
CHOICES = ("auto", "cpu", "cuda")


@dataclass
class Lease:
    """The device that a job may use; a context manager that releases it.

    Attributes:
        device: "cpu" or "cuda".
        uuid: the locked GPU, or None if no lock is held.
        descriptor: of the open lock file.
    """

    device: str
    uuid: str | None = None
    descriptor: int | None = None

    def release(self) -> None:
        """Release the lock, if one is held; may be called twice."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def list_devices() -> list[str]:
    """UUIDs of this machine's GPUs in the driver's order; a GPU split by MIG is replaced by its instances.

    Uses `nvidia-smi`, because torch would initialise CUDA before the device is chosen.
    """
    try:
        shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_devices(shown.stdout)


def parse_devices(listing: str) -> list[str]:
    """The UUIDs in the output of `nvidia-smi -L`; a GPU with MIG instances is replaced by them."""
    devices: list[str] = []
    parent: str | None = None
    for line in listing.splitlines():
        found = re.search(r"\(UUID: ([^)]+)\)", line)
        if found is None:
            continue
        if line.lstrip().startswith("MIG"):
            if parent is not None and devices and devices[-1] == parent:
                devices.pop()
        else:
            parent = found.group(1)
        devices.append(found.group(1))
    return devices


def lease_device(
    want: str = "auto",
    *,
    gpus: int = 1,
    devices: Sequence[str] | None = None,
    environ: MutableMapping[str, str] = os.environ,
    lock_dir: str | Path | None = None,
) -> Lease:
    """Lease a device for this process; call it before torch is imported.

    Args:
        want: "cpu", "cuda" (an error without a GPU) or "auto" (a GPU if there is one).
        gpus: GPUs that the scheduler granted; 0 means CPU whatever `want` says (`--resources gpu=0`).
        devices: the GPUs to choose from, as CUDA names them; default `list_devices()`.
        environ: where CUDA_VISIBLE_DEVICES is read and set.
        lock_dir: folder of the lock files; default the system's folder for temporary files.

    Raises:
        InputError: `want` is unknown; no GPU although "cuda" is asked for; all GPUs are leased.
    """
    if want not in CHOICES:
        raise InputError(f"device: {want!r} is unknown; choose one of {', '.join(CHOICES)}")
    if want == "cpu" or gpus <= 0:
        environ[VISIBLE] = ""
        return Lease("cpu")
    if VISIBLE in environ:
        if environ[VISIBLE].strip() not in ("", "-1", "NoDevFiles"):
            return Lease("cuda")
        devices = []
    elif devices is None:
        devices = list_devices()
    if not devices:
        if want == "cuda":
            raise InputError("device: cuda was asked for but no GPU is visible; use device: cpu or auto")
        return Lease("cpu")
    folder = Path(tempfile.gettempdir() if lock_dir is None else lock_dir)
    for uuid in devices:
        descriptor = _try_lock(folder / f"sparsemm-{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock")
        if descriptor is not None:
            environ[VISIBLE] = uuid
            return Lease("cuda", uuid, descriptor)
    raise InputError(
        f"device: all {len(devices)} GPUs are taken by other jobs; run with --resources gpu={len(devices)} or fewer"
    )


def _try_lock(path: Path) -> int | None:
    """Descriptor of the opened and locked file, or None if another process holds the lock."""
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
    return descriptor
