"""Calls of torch's Python functions, redirected to the pretend device before torch looks for a driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from pretend.cuda import META, CudaTensor, device, to_cuda

attend = torch.nn.functional.scaled_dot_product_attention
_HOST_MADE = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}


class Calls(TorchFunctionMode):
    """Replace the device "cuda" by "meta" in every call."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is torch.device:
            return function(*args, **kwargs)
        generator = kwargs.get("generator")
        ours = any(isinstance(value, CudaTensor) for value in args) or _place(kwargs.get("device")) == META
        if generator is not None and ours != getattr(generator, "pretend", False):
            raise RuntimeError("the generator is on another device than what is drawn")
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], _index(args[0], args[1]), *args[2:])
        if (
            function is attend
            and args[0].is_cuda
            and not (kwargs.get("enable_gqa") and _masked(args, kwargs))
        ):
            return _fused_attention(args, kwargs)
        if function in _HOST_MADE:
            return _from_host(function, args, kwargs)
        if function is torch.Tensor.cuda:
            function, args = torch.Tensor.to, (args[0], META)
        return function(*map(_place, args), **{name: _place(value) for name, value in kwargs.items()})


def _place(value: Any) -> Any:
    if isinstance(value, torch.device):
        return META if value.type == "cuda" else value
    return META if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def _index(tensor: torch.Tensor, index: Any) -> Any:
    """Turn lists in an index into tensors on the device; torch would make them on meta, without values."""
    if isinstance(index, tuple):
        return tuple(_index(tensor, part) for part in index)
    listed = isinstance(index, list) and isinstance(tensor, CudaTensor)
    return to_cuda(torch.tensor(index)) if listed else index


def _masked(args: Any, kwargs: Any) -> bool:
    return kwargs.get("attn_mask", args[3] if len(args) > 3 else None) is not None


def _fused_attention(args: Any, kwargs: Any) -> Any:
    """Attention as one kernel, as CUDA has for 16 bits; a mask with GQA groups forms T x T there."""
    flat, _ = tree_flatten((args, kwargs))
    if any(isinstance(value, torch.Tensor) and not isinstance(value, CudaTensor) for value in flat):
        raise RuntimeError("Expected all tensors to be on the same device (attention)")
    ours = [value for value in flat if isinstance(value, CudaTensor)]
    own_args, own_kwargs = tree_map(lambda v: v.inner if isinstance(v, CudaTensor) else v, (args, kwargs))
    with torch._C.DisableTorchFunction():
        out = attend(*own_args, **own_kwargs)
    if device.capture is not None:
        reads = [value.block for value in ours if value.block is not None]
        inputs = [value.inner for value in ours]
        device.capture.add(lambda: attend(*own_args, **own_kwargs), reads, inputs, [out], False)
    return CudaTensor(out)


def _from_host(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Tensors made from host data (torch.tensor, torch.as_tensor, ...): made on the CPU, then copied."""
    target = _place(kwargs.pop("device", None))
    if function is torch.Tensor.new_tensor:
        like, *args = args
        target = like.device if target is None else target
        kwargs.setdefault("dtype", like.dtype)
        function = torch.tensor
    if isinstance(args[0], CudaTensor):
        moved = args[0] if target is None else args[0].to(_place(target))
        return moved.to(kwargs["dtype"]) if kwargs.get("dtype") else moved
    data = tree_map(lambda value: value.item() if isinstance(value, CudaTensor) else value, args[0])
    made = function(data, *args[1:], **kwargs)
    return to_cuda(made) if target is not None and _place(torch.device(target)) == META else made
