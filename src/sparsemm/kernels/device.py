"""Whether Triton runs on a tensor's device, and a context that makes that device the current one."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager

import torch


def on_device_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """Make the tensor's device the current CUDA device, which launches, streams and graphs use; no-op on the CPU."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return guard


def has_triton() -> bool:
    """Whether triton is installed; does not import it."""
    return importlib.util.find_spec("triton") is not None


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether our Triton kernels support the tensor's device: GPUs from sm_80 on."""
    return tensor.is_cuda and has_triton() and torch.cuda.get_device_capability(tensor.device) >= (8, 0)
