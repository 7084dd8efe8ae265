"""torch.cuda for the pretend device: graphs, streams, events and memory counters.

A captured operation runs once, for the shape of its output, and is undone when the capture ends: every allocation gets
its bytes back and tensors made inside are filled with NaN, because a real capture computes nothing. A replay runs the
recorded operations and writes into the same memory.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from pretend.calls import Calls
from pretend.cuda import Block, Operations, device
from pretend.triton import KERNELS, Launcher

FREE = 1 << 26  # bytes that mem_get_info reports as free


class Graph:
    """In place of torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.made: list[torch.Tensor] = []  # bytes of what was allocated inside
        self.steps: list[Callable[[], None]] = []
        self.outside: dict[int, weakref.ref[Block]] = {}  # allocations from before the capture
        self.complete = False

    def add(
        self,
        again: Callable[[], Any],
        reads: list[Block],
        inputs: list[Any],
        results: list[Any],
        writes: bool,
    ) -> None:
        """One operation that was run on `inputs`, plain tensors, with `results`."""
        inside = {part.data_ptr() for part in self.made}
        for block in reads:
            if block.bytes.data_ptr() not in inside:
                self.outside[id(block)] = weakref.ref(block)
        known = {value.untyped_storage().data_ptr() for value in inputs if isinstance(value, torch.Tensor)}
        fresh = [
            value
            if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() not in known
            else None
            for value in results
        ]
        if not writes and all(value is None for value in fresh):
            return  # a view: it stays one

        def step() -> None:
            for old, new in zip(fresh, tree_leaves(again())):
                if old is not None:
                    old.copy_(new)

        self.steps.append(step)

    def replay(self) -> None:
        if not self.complete:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        if device.capture is not None:
            raise RuntimeError("a graph was replayed while another is captured")
        if any(block() is None for block in self.outside.values()):
            raise RuntimeError(
                "CUDA error: an illegal memory access was encountered (the graph uses freed memory)"
            )
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            _forget(self.made)
            for step in self.steps:
                step()


def _forget(parts: list[torch.Tensor]) -> None:
    for part in parts:
        part.fill_(255)  # NaN in every float type


@contextlib.contextmanager
def capturing(graph: Graph, *args: Any, **options: Any) -> Iterator[None]:
    """In place of torch.cuda.graph."""
    device.host("the begin of a capture")
    before = [(block.bytes, block.bytes.clone()) for block in device.blocks.values()]
    device.capture = graph
    try:
        yield
        graph.complete = True
    finally:
        device.capture = None
        with _disable_current_modes(), torch.no_grad():
            for now, then in before:
                now.copy_(then)
            _forget(graph.made)


class Stream:
    """In place of torch.cuda.Stream: all work is in order."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        assert isinstance(other, Stream)

    def wait_event(self, event: Any) -> None:
        assert isinstance(event, Event)

    def synchronize(self) -> None:
        device.host("Stream.synchronize")


class Event:
    """In place of torch.cuda.Event: its clock counts the records, so that every time is above 0."""

    clock = itertools.count()

    def __init__(self, enable_timing: bool = False, **options: Any) -> None:
        self.timed, self.at = enable_timing, -1

    def record(self, stream: Any = None) -> None:
        self.at = next(Event.clock)

    def synchronize(self) -> None:
        device.host("Event.synchronize")

    def elapsed_time(self, end: Event) -> float:
        device.host("Event.elapsed_time")
        if not (self.timed and end.timed and min(self.at, end.at) >= 0):
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return float(end.at - self.at)


class Generator(torch.Generator):
    """A CPU generator that remembers the device it was made for."""

    pretend = False

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        made.pretend = torch.device(device).type == "cuda"
        return made


def _host(what: str) -> Callable[..., None]:
    return lambda *args, **options: device.host(what)


def stand_ins() -> dict[str, Any]:
    """Replacements of torch.cuda's attributes while the pretend device is in use."""
    stream = Stream()
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *args: "pretend",
        "get_device_capability": lambda *args: (9, 0),
        "get_device_properties": lambda *args: SimpleNamespace(
            name="pretend", multi_processor_count=132, total_memory=FREE, major=9, minor=0
        ),
        "is_bf16_supported": lambda *args: True,
        "is_current_stream_capturing": lambda: device.capture is not None,
        "synchronize": _host("torch.cuda.synchronize"),
        "empty_cache": _host("torch.cuda.empty_cache"),
        "Stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda *args: stream,
        "default_stream": lambda *args: stream,
        "device_of": lambda tensor: contextlib.nullcontext(),
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": capturing,
        "mem_get_info": lambda *args: (FREE - device.allocated, FREE),
        "reset_peak_memory_stats": lambda *args: device.reset(),
        "max_memory_allocated": lambda *args: device.peak,
        "max_memory_reserved": lambda *args: device.peak,
        "memory_allocated": lambda *args: device.allocated,
        "memory_reserved": lambda *args: device.allocated,
        "get_rng_state": lambda *args: torch.get_rng_state(),
        "set_rng_state": lambda state, *args: torch.set_rng_state(state),
        "manual_seed": lambda seed: (
            None
        ),  # torch.manual_seed has seeded the CPU's generator, which is used here
        "manual_seed_all": lambda seed: None,
    }


@contextlib.contextmanager
def pretend_cuda() -> Iterator[Any]:
    """Use the pretend CUDA device inside; yields its counters (pretend.cuda.Device)."""
    import importlib

    from sparsemm.kernels.triton_gemv import Tiling

    with contextlib.ExitStack() as stack:
        for name, value in stand_ins().items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch("sparsemm.generation.graphs._TIMED", 1))
        large = Tiling(rows=16)  # few programs: the interpreter takes a millisecond for each
        stack.enter_context(mock.patch("sparsemm.kernels.triton_gemv.TILING", large))
        for module_name, kernel in KERNELS:
            module = importlib.import_module(f"sparsemm.kernels.{module_name}")
            stack.enter_context(mock.patch.object(module, kernel, Launcher(getattr(module, kernel))))
        device.reset()
        device.launches = 0
        device.compiled.clear()
        stack.enter_context(Calls())
        stack.enter_context(Operations())
        yield device
