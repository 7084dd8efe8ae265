"""The protocol of a policy (a budget, a ranker and the formula `keep`, its allocator), and its checks."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from sparsemm.budget.allocation import as_scores, check_budget
from sparsemm.errors import InputError
from sparsemm.policies.rankers import Ranker, WindowAttention
from sparsemm.policies.rankers.base import check_kernel, check_precision


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
        """Newest prompt tokens: always kept, and the default ranker's queries."""

    @property
    def kernel(self) -> int:
        """Width of the default ranker's average pooling over key positions, odd."""

    # A policy may also have `ranker`, which orders the tokens (None: `default_ranker()` if it has that, else
    # WindowAttention of its window and kernel), and `ranking`, that default's precision: "float32", or "model" for the
    # model's dtype as in the authors' code.

    def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
        """Tokens that each KV head keeps beyond the window.

        Args:
            pooled: [B, Hkv, P] from the ranker, -inf at pads; float32, or the dtype of the ranking.
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


def ranker_of(policy: Policy) -> Ranker:
    """What ranks the tokens under a policy: its ranker, with the policy's window. Equal rankers share their ranks."""
    ranker: Any = getattr(policy, "ranker", None)
    if ranker is None and hasattr(policy, "default_ranker"):
        ranker = policy.default_ranker()
    if ranker is None:
        return WindowAttention(policy.window, policy.kernel, getattr(policy, "ranking", "float32"))
    made: Ranker = ranker if ranker.window == policy.window else replace(ranker, window=policy.window)
    return made


def check_policy(
    name: str, budget: int, window: int, kernel: int, ranking: str = "float32", ranker: object = None
) -> None:
    """Raise InputError, which names the policy, for a budget not above the window or another setting that cannot be."""
    check_budget(budget, window, owner=name)
    check_kernel(name, kernel)
    check_ranker(name, ranker)
    check_precision(name, ranking, key="ranking")


def score_values(name: str, scores: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """float64 [L, Hkv] or [L, Hq] of HeadScores or an array; InputError, which names the policy, unless they fit."""
    values = scores.values if hasattr(scores, "per_kv_head") else scores
    return as_scores(values, owner=f"{name}: scores")


def check_scored_layers(name: str, scores: Sized, num_layers: int) -> None:
    """Raise InputError, which names the policy, unless the scores [L, heads] are of a model with this many layers."""
    if len(scores) != num_layers:
        raise InputError(
            f"{name}: scores of {len(scores)} layers, model of {num_layers}: use this model's scores"
        )


def check_ranker(name: str, ranker: object) -> None:
    """Raise InputError, which names the policy, unless it has no ranker or one that can rank."""
    if ranker is not None and not isinstance(ranker, Ranker):
        raise InputError(f"{name}: ranker is {ranker!r}: give a ranker, such as KeyNorm()")
