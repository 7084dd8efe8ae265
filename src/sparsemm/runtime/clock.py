"""Elapsed time on a device: CUDA events, which do not block the host, or the host's clock on a CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch


class Stopwatch:
    """Total time that the device spends inside `with watch:` blocks."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._device = device
        self._spans: list[tuple[Any, Any]] = []
        self._begin: Any = None

    def __enter__(self) -> Stopwatch:
        self._begin = self._mark()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spans.append((self._begin, self._mark()))

    def seconds(self) -> float:
        """The sum so far, in seconds; waits for the device."""
        if not self._cuda:
            return float(sum(end - begin for begin, end in self._spans))
        synchronize(self._device)
        return float(sum(begin.elapsed_time(end) for begin, end in self._spans)) / 1000

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds that `work` takes; the device is idle when it starts."""
    synchronize(device)
    with Stopwatch(device) as watch:
        work()
    return watch.seconds()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work; a CPU has none."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Exclude all existing objects from garbage collection inside the block.

    A full collection over the objects that transformers creates takes 150 ms (2-core machine of the README), which
    would fall into one of the timed repeats.
    """
    gc.collect()
    others = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not others:  # Python has one frozen set: leave it if someone else froze objects
            gc.unfreeze()
