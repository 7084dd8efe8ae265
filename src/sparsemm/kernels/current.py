"""Triton launches, streams and graphs are of the current CUDA device, whichever one holds the tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def on_device_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
    """Inside, the tensor's device is the current one; nothing for a tensor on the CPU."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return guard
