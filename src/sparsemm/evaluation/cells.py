"""The policies and budgets that a benchmark is answered under."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from sparsemm.errors import InputError
from sparsemm.labels import split_question
from sparsemm.policies import Policy, make_policy


class Cell(NamedTuple):
    """One policy at one budget under the label that results carry; budget 0 is the full cache."""

    label: str
    budget: int
    policy: Policy

    @property
    def question(self) -> str:
        """When the prompt is compressed, of QUESTIONS."""
        return split_question(self.label)[1]


def make_cells(pairs: Sequence[Sequence[Any]], **settings: Any) -> list[Cell]:
    """Make cells from (label, budget) pairs.

    Args:
        pairs: a method's label ("sparsemm[rho=0.3]", "sparsemm[probe=wild]", "sparsemm[question=agnostic]") and tokens
            per KV head, window included; 0 for the full cache.
        **settings: those of `make_policy` (window, kernel, scores, set_scores, ...).

    Raises:
        InputError: for an unknown label, a budget not above the window, or a pair that comes twice.
    """
    cells = []
    for label, budget in pairs:
        own, _ = split_question(str(label))
        cells.append(Cell(str(label), int(budget), make_policy(own, budget=int(budget) or None, **settings)))
    if len({cell[:2] for cell in cells}) < len(cells):
        raise InputError("policies, budgets: a (policy, budget) pair comes twice; list each once")
    return cells


def describe(policy: Policy) -> str:
    """The policy with all its settings, for a fingerprint; scores, whose repr is not exact, as a digest."""
    settings = {key: value for key, value in vars(policy).items() if not key.startswith("_")}
    if "scores" in settings:
        values = getattr(settings["scores"], "values", settings["scores"])
        array = torch.as_tensor(values, dtype=torch.float64).cpu().contiguous().numpy()
        settings["scores"] = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{policy.name} {sorted(settings.items())}"
