"""Where kernels run: whether Triton does, and the current CUDA device, which launches, streams and graphs belong to."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager

import torch


def on_device_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """Inside, the tensor's device is the current one; nothing for a tensor on the CPU."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return guard


def has_triton() -> bool:
    """Whether triton is installed; it is not imported to find out."""
    return importlib.util.find_spec("triton") is not None


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether our Triton kernels run where the tensor is: on GPUs from sm_80 on."""
    return tensor.is_cuda and has_triton() and torch.cuda.get_device_capability(tensor.device) >= (8, 0)
