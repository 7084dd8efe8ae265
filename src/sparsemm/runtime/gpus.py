"""The GPUs of this machine, without CUDA: torch would initialise it before a device is chosen."""

from __future__ import annotations

import re
import subprocess
from typing import Any


def list_devices() -> list[str]:
    """UUIDs of this machine's GPUs in the driver's order; a GPU split by MIG is replaced by its instances.

    Uses `nvidia-smi`, which comes with the driver.
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


def used_share(uuid: str) -> float | None:
    """Share of a GPU's memory that is in use, by NVML; None where that cannot be asked (nvidia-ml-py is optional)."""
    try:
        import pynvml
    except ImportError:
        return None
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
        memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid))
    except nvml.NVMLError:
        return None
    return float(memory.used) / float(memory.total)
