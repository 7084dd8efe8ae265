"""What this machine has: GPUs, memory, free disk, Java, a token. The token itself is never kept or shown."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """A GPU's name and memory in bytes."""

    name: str
    memory: int


def free_bytes(path: Path) -> int:
    """Bytes free for this user where `path` is, or will be."""
    return shutil.disk_usage(nearest(path)).free


def nearest(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return place


@dataclass(frozen=True)
class Machine:
    """What jobs will find here.

    Attributes:
        gpus: those that nvidia-smi lists.
        memory: of the host, bytes; 0 where it is not known.
        cores: of the host.
        java: whether it can be started.
        captions: whether pycocoevalcap is installed.
        token: whether huggingface_hub finds one.
        cache: where the hub's client keeps models.
        free: bytes free at a path.
    """

    gpus: tuple[Gpu, ...]
    memory: int
    cores: int
    java: bool
    captions: bool
    token: bool
    cache: Path
    free: Callable[[Path], int] = field(default=free_bytes, repr=False)


def this_machine() -> Machine:
    """The machine that this runs on."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HUB_CACHE

    return Machine(
        gpus=read_gpus(
            _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
        ),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cores=os.cpu_count() or 1,
        java=_starts("java", "-version"),
        captions=importlib.util.find_spec("pycocoevalcap") is not None,
        token=bool(get_token()),
        cache=Path(HF_HUB_CACHE),
    )


def read_gpus(listing: str) -> tuple[Gpu, ...]:
    """The GPUs in what `nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits` prints (MiB)."""
    found = []
    for line in listing.splitlines():
        name, _, size = line.rpartition(",")
        if size.strip().isdigit():
            found.append(Gpu(name.strip(), int(size) << 20))
    return tuple(found)


def _answer(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _starts(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
