"""The protocol of a policy (a budget, a window, a pooling kernel and the formula `keep`), and its checks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from sparsemm.budget.allocation import check_budget
from sparsemm.errors import InputError
from sparsemm.methods import RANKINGS


@runtime_checkable
class Policy(Protocol):
    """A compression method with its budget. A policy only computes: the model's hooks are in `generation`."""

    @property
    def name(self) -> str:
        """The method's name in `sparsemm.methods`: fullkv, snapkv, ..."""

    @property
    def budget(self) -> int | None:
        """Tokens kept per KV head, averaged over heads and layers, window included; None for no limit."""

    @property
    def window(self) -> int:
        """Newest prompt tokens: always kept, and their queries rank the other tokens."""

    @property
    def kernel(self) -> int:
        """Width of the average pooling over key positions, odd."""

    # A policy may also have `ranking`: "float32" (the default), or "model" to rank in the model's dtype as the authors'
    # code does.

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """Tokens that each KV head keeps beyond the window.

        Args:
            pooled: [B, Hkv, P] from `pooled_attention`, -inf at pads; float32, or the dtype of the ranking.
            layer: index of the layer.
            num_layers: layers of the model.

        Returns:
            int64 [B, Hkv], from 0 to the row's number of tokens before the window.
        """


def past_tokens(pooled: torch.Tensor) -> torch.Tensor:
    """Number of prompt tokens before the window, int64 [B, Hkv]: P without the row's pads.

    Args:
        pooled: [B, Hkv, P], -inf at pads.
    """
    return (pooled > float("-inf")).sum(dim=-1)


def check_policy(name: str, budget: int, window: int, kernel: int, ranking: str = "float32") -> None:
    """Raise InputError, which names the policy, for a budget not above the window, an even kernel, another ranking."""
    check_budget(budget, window, owner=name)
    check_kernel(name, kernel)
    if ranking not in RANKINGS:
        raise InputError(f"{name}: ranking is {ranking!r}: use {' or '.join(RANKINGS)}")


def check_kernel(name: str, kernel: int) -> None:
    """Raise InputError, which names the policy, unless the pooling kernel is odd and at least 1."""
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"{name}: kernel is {kernel}: the pooling kernel must be odd and at least 1")
