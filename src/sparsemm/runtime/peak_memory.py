"""Measured peak memory: of the device on CUDA, of the process on a CPU."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch

_PROC = Path("/proc/self")
_PERIOD_S = 0.005


class PeakMemory:
    """Context manager that measures the peak memory of its block.

    Attributes:
        bytes: the peak, set on exit. CUDA: bytes that torch allocated on the device. CPU: resident bytes of the whole
            process, libraries and model included, from the kernel's high-water mark, which is reset on entry. Where it
            cannot be reset, resident bytes are sampled every 5 ms. Without /proc it is the peak since the process
            started.
        reserved: CUDA: bytes that torch's allocator reserved on the device. CPU: 0.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0
        self.reserved = 0
        self._read: Callable[[], int] = _lifetime_peak
        self._sampler: threading.Thread | None = None
        self._stop = threading.Event()

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self._read = lambda: int(torch.cuda.max_memory_allocated(self.device))
        elif _reset_high_water():
            self._read = lambda: _status("VmHWM")
        elif (_PROC / "status").exists():
            self._read = lambda: max(self.bytes, _status("VmRSS"))
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._sampler is not None:
            self._sampler.join()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.reserved = int(torch.cuda.max_memory_reserved(self.device))
        self.bytes = self._read()

    def _sample(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.bytes = max(self.bytes, _status("VmRSS"))


def _reset_high_water() -> bool:
    """Reset the kernel's high-water mark of resident memory; False where that is not allowed."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    """One kB field of /proc/self/status, in bytes."""
    for line in (_PROC / "status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _lifetime_peak() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
