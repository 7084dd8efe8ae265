"""What every policy is: a budget, a window, a pooling kernel and one formula, `keep`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from sparsemm.budget.allocation import check_budget
from sparsemm.errors import InputError


@runtime_checkable
class Policy(Protocol):
    """A compression method with its budget. Policies are pure: the hooks live elsewhere."""

    @property
    def name(self) -> str:
        """The method's label: fullkv, snapkv, ..."""

    @property
    def budget(self) -> int | None:
        """Tokens kept per KV head, averaged over heads and layers, window included; None for no limit."""

    @property
    def window(self) -> int:
        """Newest prompt tokens, always kept, whose queries rank the others."""

    @property
    def kernel(self) -> int:
        """Width of the average pooling over key positions."""

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """Tokens kept beyond the window, int64 [B, Hkv], between 0 and the row's own number of them.

        pooled: float32 [B, Hkv, P] from `pooled_attention`, -inf at pads.
        """


def past_tokens(pooled: torch.Tensor) -> torch.Tensor:
    """Real tokens before the window of each row, int64 [B, Hkv]: P less the pads, as in a single run."""
    return (pooled > float("-inf")).sum(dim=-1)


def check_policy(name: str, budget: int, window: int, kernel: int) -> None:
    """Raise InputError for a budget not above the window or a kernel that is not odd."""
    check_budget(budget, window, owner=name)
    check_kernel(name, kernel)


def check_kernel(name: str, kernel: int) -> None:
    """Raise InputError unless the pooling kernel is odd and at least 1."""
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"{name}: kernel is {kernel}: the pooling kernel must be odd and at least 1")
