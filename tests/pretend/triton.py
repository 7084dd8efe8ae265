"""Launches of Triton kernels on the pretend device: they run in the interpreter and fail where a GPU would fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from pretend.cuda import CudaTensor, device

KERNELS = (("triton_decode", "split_one"), ("triton_decode", "split_group"), ("triton_decode", "combine"))
KERNELS += (("triton_fused", "_rms_norm"),)
KERNELS += (("triton_fused", "_gated_silu"), ("triton_fused", "_rotate"), ("triton_gemv", "_project"))
KERNELS += (("triton_gemv", "_gate"), ("triton_gemv", "_add"))
KERNELS += (("triton_window", "_statistics"), ("triton_window", "_mean"))


class Launcher:
    """In place of a Triton kernel: runs it in the interpreter and raises what a GPU would raise.

    Tensors must be on the device, no program may reach outside the memory of the arguments, and no two programs of a
    launch may touch the same address when one of them writes it: their order is not known on a GPU. A capture may only
    launch what was compiled before.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        from triton.runtime.errors import InterpreterError

        def launch(*args: Any, **options: Any) -> None:
            ours = [value for value in (*args, *options.values()) if isinstance(value, torch.Tensor)]
            for tensor in ours:
                if not isinstance(tensor, CudaTensor):
                    raise RuntimeError("Pointer argument cannot be accessed from Triton (cpu tensor?)")
            inner = [value.inner if isinstance(value, CudaTensor) else value for value in args]
            named = {
                k: value.inner if isinstance(value, CudaTensor) else value for k, value in options.items()
            }
            tensors = [value for value in (*inner, *named.values()) if isinstance(value, torch.Tensor)]

            def again() -> None:
                device.launches += 1
                with _disable_current_modes(), torch._C.DisableTorchFunction(), watched(tensors):
                    try:
                        self.kernel[grid](*inner, **named)
                    except InterpreterError as error:
                        raise error.__cause__ or error from None

            key = (self.kernel, *map(_kind, args), *((name, options[name]) for name in sorted(options)))
            if device.capture is not None and key not in device.compiled:
                raise RuntimeError(
                    f"{self.kernel}: a kernel would be compiled and loaded while a stream is captured"
                )
            device.compiled.add(key)
            again()
            if device.capture is not None:
                reads = [tensor.block for tensor in ours if tensor.block is not None]
                device.capture.add(again, reads, tensors, [], True)

        return launch


def _kind(value: Any) -> Any:
    """What Triton specialises a kernel on: types, addresses and integers that 16 divides, integers equal to 1."""
    if isinstance(value, CudaTensor):
        return value.dtype, value.storage_offset() * value.element_size() % 16 == 0
    return ("int", value == 1, value % 16 == 0) if isinstance(value, int) else type(value)


@contextlib.contextmanager
def watched(tensors: list[torch.Tensor]) -> Iterator[None]:
    """Check the interpreter's loads and stores during one launch, and correct its bfloat16 arithmetic.

    The interpreter multiplies the bit patterns of bfloat16 numbers as integers, and truncates where a GPU rounds.

    Args:
        tensors: The launch's arguments; memory outside them may not be touched.
    """
    from triton.runtime import interpreter

    builder: Any = interpreter.InterpreterBuilder
    ranges = {(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) for t in tensors}
    # Addresses that programs read (False) and wrote (True), and by which program.
    touched: dict[bool, list[tuple[np.ndarray, int]]] = {False: [], True: []}
    load, store = builder.create_masked_load, builder.create_masked_store

    def note(self: Any, pointers: Any, mask: Any, write: bool) -> None:
        at, on = np.broadcast_arrays(pointers.data, mask.data)
        at = at[on.astype(bool)].astype(np.int64)
        if not at.size:
            return
        width = pointers.get_element_ty().primitive_bitwidth // 8
        if not any(first <= at.min() and at.max() + width <= first + size for first, size in ranges):
            inside = np.zeros(at.shape, bool)
            for first, size in ranges:
                inside |= (at >= first) & (at + width <= first + size)
            if not inside.all():
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        x, y, z = self.grid_idx
        touched[write].append((at, (x * 4096 + y) * 4096 + z))

    def watched_load(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        note(self, ptrs, mask, False)
        return load(self, ptrs, mask, *rest)

    def watched_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note(self, ptrs, mask, True)
        return store(self, ptrs, value, mask, *rest)

    def dot(self: Any, a: Any, b: Any, total: Any, *rest: Any) -> Any:
        return plain_dot(self, _as_float32(a), _as_float32(b), total, *rest)

    def cast(self: Any, source: Any, target: Any) -> Any:
        if (source.dtype.scalar.name, target.scalar.name) != ("fp32", "bf16"):
            return plain_cast(self, source, target)
        bits = source.data.astype(np.float32).view(np.uint32)
        even = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        whole = np.where(np.isnan(source.data), np.uint32(0x7FC0), even)
        return interpreter.TensorHandle(whole.astype(np.uint16), target.scalar)

    def _as_float32(handle: Any) -> Any:
        if handle.dtype.scalar.name != "bf16":
            return handle
        wide = (handle.data.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return interpreter.TensorHandle(wide, interpreter.tl.float32)

    plain_dot, plain_cast = builder.create_dot, builder.cast_impl
    with (
        mock.patch.multiple(builder, create_masked_load=watched_load, create_masked_store=watched_store),
        mock.patch.multiple(builder, create_dot=dot, cast_impl=cast),
    ):
        yield
    if touched[True]:
        calls = touched[True] + touched[False]
        written = np.unique(np.concatenate([at for at, _ in touched[True]]))
        reached = np.concatenate([at for at, _ in calls])
        place = np.searchsorted(written, reached).clip(max=len(written) - 1)
        hit = written[place] == reached
        _, program = np.unique([number for _, number in calls], return_inverse=True)
        program = np.repeat(program, [at.size for at, _ in calls])
        pairs = np.unique(place[hit] * len(calls) + program[hit])
        if (np.bincount(pairs // len(calls)) > 1).any():
            raise RuntimeError("two programs of a launch touch an address that one of them writes")
