"""What a policy keeps before any prompt is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from sparsemm.budget import allocate
from sparsemm.policies import make_policy
from sparsemm.policies.base import past_tokens
from sparsemm.policies.planning import planned_keep

LAYERS, HEADS, BUDGET, WINDOW = 3, 4, 24, 8


def planned(label: str) -> torch.Tensor | None:
    scores = np.random.default_rng(0).random((LAYERS, HEADS)) ** 3
    policy = make_policy(label, budget=BUDGET, window=WINDOW, scores=scores / scores.sum())
    return planned_keep(policy, LAYERS, HEADS)


def test_uniform_budget_is_planned_for_every_head() -> None:
    kept = planned("snapkv")
    assert kept is not None
    assert kept.tolist() == [[BUDGET - WINDOW] * HEADS] * LAYERS


def test_plan_of_scores_is_their_allocation_however_much_one_head_gets() -> None:
    scores = np.zeros((LAYERS, HEADS))
    scores[1, 2] = 1.0
    policy = make_policy("sparsemm", budget=BUDGET, window=WINDOW, scores=scores, rho=0.0)
    kept = planned_keep(policy, LAYERS, HEADS)
    assert kept is not None
    assert torch.equal(kept, allocate(scores, BUDGET, window=WINDOW, rho=0.0))
    assert kept[1, 2] == (BUDGET - WINDOW) * LAYERS * HEADS


@pytest.mark.parametrize("label", ["pyramidkv", "random_heads", "sparsemm[rho=0.5]", "local_window"])
def test_plan_spends_no_more_than_the_budget(label: str) -> None:
    kept = planned(label)
    assert kept is not None
    assert kept.dtype == torch.int64
    assert kept.shape == (LAYERS, HEADS)
    assert kept.sum() <= (BUDGET - WINDOW) * LAYERS * HEADS + LAYERS * HEADS  # rounding, one token a head


def test_sharing_by_attention_has_no_plan() -> None:
    assert planned("adakv") is None
    assert planned("adakv@key_norm") is None
    assert planned("visual_ada") is None
    assert planned("duo_heads") is None  # it decides by the prompt's length


@pytest.mark.parametrize("budget", [WINDOW + 2, 256])
def test_stopping_at_a_share_of_the_attention_has_no_plan_at_any_budget(budget: int) -> None:
    @dataclass(frozen=True)
    class Share:
        budget: int
        window: int = WINDOW
        kernel: int = 5
        name: ClassVar[str] = "share"

        def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
            held = pooled.sort(dim=-1, descending=True).values.cumsum(dim=-1) / pooled.sum(
                dim=-1, keepdim=True
            )
            return ((held < 0.9).sum(dim=-1) + 1).clamp(max=self.budget - self.window)

    assert planned_keep(Share(budget), LAYERS, HEADS) is None


def test_one_late_layer_that_looks_at_attention_is_enough_for_no_plan() -> None:
    @dataclass(frozen=True)
    class Late:
        budget: int = BUDGET
        window: int = WINDOW
        kernel: int = 5
        name: ClassVar[str] = "late"

        def keep(self, pooled: torch.Tensor, *, layer: int, num_layers: int) -> torch.Tensor:
            most = (pooled > 0.5).sum(dim=-1) if layer == num_layers - 1 else past_tokens(pooled)
            return most.clamp(max=self.budget - self.window)

    assert planned_keep(Late(), LAYERS, HEADS) is None
