"""The audit: the budget asked for against the tokens that a policy really keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemm.budget.allocation import allocate_array, as_scores, random_scores


def audit(
    scores_kv: Any,
    budgets: Sequence[int],
    prompt_lengths: Sequence[int],
    *,
    window: int = 32,
    rho: float = 0.1,
    beta: int = 20,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Nominal against effective budget of the policies whose keep does not depend on the sample.

    One row a policy, budget and prompt length: policy, budget (asked for), prompt_tokens, effective (tokens
    really kept per KV head, window included, mean over the model), lost = min(budget, prompt_tokens) -
    effective.
    AdaKV is left out: it shares a layer's budget by each sample's attention; its kept tokens are measured.
    """
    scores = as_scores(scores_kv)
    rows = []
    for budget in budgets:
        released = {
            "sparsemm": allocate_array(scores, budget, window=window, rho=rho),
            "random_heads": allocate_array(
                random_scores(len(scores), scores.shape[1], seed), budget, window=window, rho=rho
            ),
        }
        for prompt in prompt_lengths:
            past, base = max(prompt - window, 0), budget - window
            keep: dict[str, NDArray[np.int64]] = {
                "fullkv": np.full(scores.shape, past),
                "snapkv": np.full(scores.shape, min(base, past)),
                "pyramidkv": np.repeat(_pyramid(base, beta, len(scores), past), scores.shape[1]),
                "sparsemm[waterfill=true]": allocate_array(
                    scores, budget, window=window, rho=rho, prompt_tokens=prompt
                ),
            }
            for name, wanted in released.items():
                keep[name] = np.full_like(wanted, past) if base > past else np.minimum(wanted, past)
            for name, kept in sorted(keep.items()):
                effective = float(kept.mean()) + min(window, prompt)
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


def _pyramid(base: int, beta: int, num_layers: int, past: int) -> NDArray[np.int64]:
    """PyramidKV's keep per layer, [L] (the formula of policies/pyramidkv.py, for one prompt length)."""
    top = min(2 * base - base // beta, past) if num_layers > 1 else base
    step = 2 * (top - base) // max(num_layers - 1, 1)
    return np.clip(top - np.arange(num_layers) * step, 0, past)
