"""A pretend CUDA device on a CPU-only torch: tensors that report cuda:0 and follow the rules of that device.

`CudaTensor` wraps a CPU tensor. For torch's C++ it is on "meta", which needs no driver; for Python it is on cuda:0.
Modes replace "cuda" by "meta" where a program names a device, and run every operation on the wrapped tensors after
checking what a GPU requires: one device, and no synchronisation with the host while a graph is captured.
`torch.empty` holds NaN, memory is counted, and the replacements of torch.cuda are in pretend/graph.py.

It does not show speed, concurrency of streams (all work is in order here) or races inside a kernel's program.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

CPU, META, CUDA = torch.device("cpu"), torch.device("meta"), torch.device("cuda:0")
# Operations that make the host wait for the GPU, whatever their arguments are.
_ASKS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
_ASKS |= {"equal", "bincount", "argwhere"}
_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "dot"}  # CUDA has none for integers
_INDEXED = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}


@dataclass
class Device:
    """The device's counters. `capture` is the graph that is being captured."""

    allocated: int = 0
    peak: int = 0
    largest: int = 0  # elements of the largest tensor made since the reset
    syncs: list[str] = field(default_factory=list)  # what the host waited for
    launches: int = 0  # of Triton kernels
    compiled: set[Any] = field(default_factory=set)  # which kernels, for which kinds of arguments
    capture: Any = None
    blocks: weakref.WeakValueDictionary[int, Block] = field(default_factory=weakref.WeakValueDictionary)

    def reset(self) -> None:
        self.peak, self.largest = self.allocated, 0
        self.syncs.clear()

    def host(self, what: str) -> None:
        """Note that the host waits for the device or copies pageable memory; an error while a graph is captured."""
        if self.capture is not None:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")
        self.syncs.append(what)


device = Device()


class Block:
    """One allocation. It is freed with the last CudaTensor that uses it."""

    def __init__(self, inner: torch.Tensor) -> None:
        self.bytes = torch.empty(0, dtype=torch.uint8).set_(inner.untyped_storage())
        self.size = len(self.bytes)
        device.allocated += self.size
        device.peak = max(device.peak, device.allocated)
        device.largest = max(device.largest, self.size // inner.element_size())
        if device.capture is not None:
            device.capture.made.append(self.bytes)

    def __del__(self) -> None:
        device.allocated -= self.size


def block_of(inner: torch.Tensor) -> Block | None:
    """The allocation that a wrapped tensor lies in; None for an empty one."""
    address = inner.untyped_storage().data_ptr()
    if address == 0:
        return None
    block = device.blocks.get(address)
    if block is None:
        block = device.blocks[address] = Block(inner)
    return block


class CudaTensor(torch.Tensor):
    """A CPU tensor, `inner`, that reports cuda:0 as its device."""

    inner: torch.Tensor
    block: Block | None

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> CudaTensor:
        assert type(inner) is torch.Tensor, "only a plain tensor can be wrapped"
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=META,
            requires_grad=False,
        )
        made.inner, made.block = inner, block_of(inner)
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, new: CudaTensor) -> None:  # how a module's parameters change their dtype
        torch.Tensor.data.__set__(self, new)
        self.inner, self.block = new.inner, new.block

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def get_device(self) -> int:
        return 0

    def tolist(self) -> Any:
        device.host("tolist")
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __repr__(self) -> str:
        return f"CudaTensor({self.inner})"

    __format__ = object.__format__


def to_cuda(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the pretend device; a tensor that is there already is returned as it is."""
    if isinstance(tensor, CudaTensor):
        return tensor
    device.host("copy from the host")
    return CudaTensor(tensor.detach().clone())


def written(function: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The tensors that an operation writes to, by its schema."""
    found = []
    for place, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            found += [value] if isinstance(value, torch.Tensor) else list(value or [])
    return found


def check(function: Any, args: Any, kwargs: Any, name: str, ours: list[CudaTensor], plain: list[Any]) -> None:
    """Raise what CUDA would raise, and count what makes the host wait."""
    if name == "copy_":
        if plain:
            device.host("copy between host and device")
        return
    if name in _INDEXED and isinstance(args[0], CudaTensor):
        indices = [index for index in args[1] if index is not None]
        if any(not isinstance(index, CudaTensor) for index in indices):
            device.host("indexes from the host")
            plain = [tensor for tensor in plain if not any(tensor is index for index in indices)]
        one = name.startswith("index_put") and args[2].numel() == 1  # becomes masked_fill
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not one:
            device.host("index by a mask")
    numbers = all(tensor.dim() == 0 for tensor in plain) and name not in ("cat", "stack")
    outs = written(function, args, kwargs)
    if plain and (not numbers or any(tensor is out for tensor in plain for out in outs)):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({function}, {[tuple(tensor.shape) for tensor in plain]} on cpu)"
        )
    if name in _ASKS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        device.host(name)
    if name in _PRODUCTS and not (ours[0].is_floating_point() or ours[0].is_complex()):
        raise RuntimeError(f'"{name}_cuda" not implemented for {ours[0].dtype}')


def run(function: Any, args: Any, kwargs: Any) -> Any:
    """One operation, on the wrapped tensors where an argument or the result is on the pretend device."""
    flat, spec = tree_flatten((args, dict(kwargs)))
    ours = [value for value in flat if isinstance(value, CudaTensor)]
    target = kwargs.get("device")
    if not ours and target != META:
        return function(*args, **kwargs)
    name = function._schema.name.removeprefix("aten::")
    plain = [value for value in flat if isinstance(value, torch.Tensor) and not isinstance(value, CudaTensor)]
    if any(value.is_meta for value in plain):
        raise AssertionError(f"{function}: torch itself made a tensor on meta, so its values are lost")
    if name in ("_to_copy", "_pin_memory"):
        if plain or target == CPU:
            device.host("copy between host and device")
    elif ours:
        check(function, args, kwargs, name, ours, plain)
    outer = {id(value.inner): value for value in ours} | {id(value): value for value in plain}
    inner = [value.inner if isinstance(value, CudaTensor) else value for value in flat]
    if device.capture is not None:  # what the host has is read now, not at every replay
        inner = [value.clone() if any(value is p for p in plain) else value for value in inner]
    own_args, own_kwargs = tree_unflatten(inner, spec)
    if target is not None:
        own_kwargs |= {"device": CPU}
    own_kwargs.pop("pin_memory", None)
    out = function(*own_args, **own_kwargs)
    if name.startswith(("empty", "new_empty")) and (target != CPU) and out.untyped_storage().nbytes():
        torch.empty(0, dtype=torch.uint8).set_(out.untyped_storage()).fill_(255)  # NaN in every float type
    results, shape = tree_flatten(out)
    on_host = target is not None and target != META

    def outside(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        known = outer.get(id(value))
        if known is not None:
            if known.shape != value.shape or known.stride() != value.stride():
                raise NotImplementedError(f"{function} changes the shape of its argument in place")
            return known
        return value if on_host else CudaTensor(value)

    wrapped = [outside(value) for value in results]
    if device.capture is not None:
        reads = [value.block for value in ours if value.block is not None]
        writes = bool(written(function, own_args, own_kwargs))
        device.capture.add(lambda: function(*own_args, **own_kwargs), reads, inner, results, writes)
    return tree_unflatten(wrapped, shape)


class Operations(TorchDispatchMode):
    """Send every operation through `run`, also those that make tensors or copy from the host."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})
