"""The audit: the tokens that a policy keeps, against the budget asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemm.budget.allocation import allocate_array, as_scores, random_scores
from sparsemm.budget.formulas import pyramid_keep, within_prompt


@dataclass(frozen=True)
class AuditSettings:
    """Settings of the audited policies.

    Attributes:
        window: newest prompt tokens, always kept.
        rho: of SparseMM and RandomHeads, the share that every head gets.
        beta: of PyramidKV.
        seed: of RandomHeads.
    """

    window: int = 32
    rho: float = 0.1
    beta: int = 20
    seed: int = 0


def audit(
    scores_kv: Any, budgets: Sequence[int], prompt_lengths: Sequence[int], **settings: Any
) -> list[dict[str, Any]]:
    """Nominal and effective budget of the policies whose allocation does not depend on the prompt's attention.

    AdaKV is left out: it splits a layer's budget by the attention of each prompt, so what it keeps is measured.

    Args:
        scores_kv: visual scores [L, Hkv] that sum to 1 over the model; array, tensor or lists.
        budgets: tokens per KV head, window included.
        prompt_lengths: tokens.
        **settings: window=32, rho=0.1, beta=20, seed=0; see `AuditSettings`.

    Returns:
        One row per policy, budget and prompt length: policy, budget, prompt_tokens, effective (tokens kept per KV head,
        window included, mean over the model) and lost (min(budget, prompt_tokens) - effective).

    Raises:
        InputError: for a budget not above the window, and for NaN, negative or unnormalised scores.
    """
    chosen = AuditSettings(**settings)
    scores = as_scores(scores_kv)
    rows = []
    for budget in budgets:
        for prompt in prompt_lengths:
            for name, kept in sorted(_kept(scores, budget, prompt, chosen).items()):
                effective = float(kept.mean()) + min(chosen.window, prompt)
                rows.append(
                    {
                        "policy": name,
                        "budget": int(budget),
                        "prompt_tokens": int(prompt),
                        "effective": effective,
                        "lost": (prompt if name == "fullkv" else min(budget, prompt)) - effective,
                    }
                )
    return rows


def _kept(
    scores: NDArray[np.float64], budget: int, prompt: int, settings: AuditSettings
) -> dict[str, NDArray[np.int64]]:
    """Tokens kept beyond the window, [L, Hkv], by policy."""
    window, rho = settings.window, settings.rho
    past, base = np.asarray(max(prompt - window, 0)), budget - window
    chance = random_scores(len(scores), scores.shape[1], settings.seed)
    layers = np.arange(len(scores))[:, None]
    kept = {
        "fullkv": past,
        "snapkv": past.clip(max=base),
        "pyramidkv": pyramid_keep(past, base, beta=settings.beta, layer=layers, num_layers=len(scores)),
        "sparsemm": within_prompt(allocate_array(scores, budget, window=window, rho=rho), past, base),
        "random_heads": within_prompt(allocate_array(chance, budget, window=window, rho=rho), past, base),
        "sparsemm[waterfill=true]": allocate_array(
            scores, budget, window=window, rho=rho, prompt_tokens=prompt
        ),
    }
    return {name: np.broadcast_to(tokens, scores.shape) for name, tokens in kept.items()}
