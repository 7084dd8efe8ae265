"""Splits a budget over KV heads by their visual scores (SparseMM, section 3.3), with optional water-filling.

With budget B, window w and N KV heads in the model: r = int(rho * (B - w)), remain = (B - w - r) * N, and a head with
score s keeps k = round(s * remain + r) tokens beyond the window. As in the authors' code, halves round to even.
Works without torch; `allocate` alone returns a tensor and imports it when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemm.errors import InputError

if TYPE_CHECKING:
    import torch

_SUM_TOLERANCE = 1e-3  # passes float32 scores of a large model, rejects unnormalised ones


def check_budget(budget: int, window: int, *, owner: str = "budget") -> None:
    """Check a budget and its window, in tokens.

    Args:
        budget: tokens kept per KV head, window included.
        window: newest prompt tokens, always kept.
        owner: what the message starts with.

    Raises:
        InputError: unless both are whole numbers with budget > window >= 1.
    """
    for key, value in (("budget", budget), ("window", window)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InputError(f"{owner}: {key} is {value!r}: give a whole number of tokens")
    if window < 1:
        raise InputError(f"{owner}: window is {window}: it must be at least 1 token")
    if budget <= window:
        raise InputError(
            f"{owner}: budget {budget} is not above the window of {window} tokens: raise the budget"
        )


def check_fraction(value: float, key: str, *, owner: str) -> None:
    """Raise InputError, which names `owner` and `key`, unless 0 <= value <= 1."""
    if not 0.0 <= value <= 1.0:  # False for NaN too
        raise InputError(f"{owner}: {key} is {value}: it must lie between 0 and 1")


def as_scores(scores: Any, *, owner: str = "scores") -> NDArray[np.float64]:
    """Scores as a float64 array [L, heads].

    Args:
        scores: array, tensor or lists [L, heads], non-negative, with sum 1. All zeros become uniform scores.
        owner: what the message starts with.

    Raises:
        InputError: for another shape, and for NaN, infinite, negative or unnormalised values.
    """
    if hasattr(scores, "detach"):  # a tensor, recognised without importing torch
        scores = scores.detach().cpu().double().numpy()
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{owner}: not a table of numbers: give [layers, KV heads]") from error
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"{owner}: shape {values.shape} is not [layers, KV heads]: give a 2-D table")
    if not np.isfinite(values).all():
        raise InputError(f"{owner}: NaN or infinite values: score the heads again")
    if (values < 0).any():
        raise InputError(f"{owner}: negative values: scores are shares of attention hits, at least 0")
    total = float(values.sum())
    if total == 0.0:
        return np.full_like(values, 1.0 / values.size)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise InputError(f"{owner}: the values sum to {total:.6g}, not 1: divide them by their sum")
    return values


def group_scores(values: NDArray[np.float64], num_kv_heads: int) -> NDArray[np.float64]:
    """Sum scores over each GQA group: [L, Hq] -> [L, Hkv]; [L, Hkv] is returned as it is.

    Raises:
        InputError: if the heads do not divide into `num_kv_heads` groups.
    """
    layers, heads = values.shape
    if num_kv_heads < 1 or heads % num_kv_heads:
        raise InputError(
            f"scores of {heads} heads a layer do not group into {num_kv_heads} KV heads: wrong model?"
        )
    grouped: NDArray[np.float64] = values.reshape(layers, num_kv_heads, heads // num_kv_heads).sum(axis=-1)
    return grouped


def allocate_array(
    scores_kv: Any, budget: int, *, window: int = 32, rho: float = 0.1, prompt_tokens: int | None = None
) -> NDArray[np.int64]:
    """Like `allocate`, without torch: int64 array [L, Hkv]."""
    check_budget(budget, window)
    check_fraction(rho, "rho", owner="budget")
    scores = as_scores(scores_kv)
    base = int(budget) - int(window)
    uniform = int(base * rho)
    if prompt_tokens is None:
        return np.rint(scores * ((base - uniform) * scores.size) + uniform).astype(np.int64)
    if prompt_tokens < 0:
        raise InputError(f"prompt_tokens is {prompt_tokens}: give the length of the prompt")
    limit = max(int(prompt_tokens) - int(window), 0)
    return _water_fill(scores.ravel(), base, uniform, limit).reshape(scores.shape)


def allocate(
    scores_kv: Any, budget: int, *, window: int = 32, rho: float = 0.1, prompt_tokens: int | None = None
) -> torch.Tensor:
    """Tokens kept beyond the window per layer and KV head.

    Args:
        scores_kv: array, tensor or lists [L, Hkv] that sum to 1 over the model.
        budget: tokens per KV head, mean over the model, window included.
        window: newest prompt tokens, always kept.
        rho: share of budget - window that every head gets, 0 to 1.
        prompt_tokens: None for the released recipe, to the integer, which may give a head more tokens than the prompt
            has. Else the length of the prompt: no head gets more than prompt_tokens - window, and the surplus goes to
            the other heads in proportion to their scores (water-filling). The total is then exactly
            (budget - window) * N, unless every head is full.

    Returns:
        torch.int64 [L, Hkv].

    Raises:
        InputError: for a budget not above the window, and for NaN, negative or unnormalised scores.
    """
    import torch

    return torch.from_numpy(
        allocate_array(scores_kv, budget, window=window, rho=rho, prompt_tokens=prompt_tokens)
    )


def _water_fill(scores: NDArray[np.float64], base: int, uniform: int, limit: int) -> NDArray[np.int64]:
    """Water-filling: tokens per head, at most `limit`, with the sum base * N.

    Args:
        scores: of the N heads, [N].
        base: budget - window.
        uniform: tokens that every head gets.
        limit: prompt tokens beyond the window.

    Returns:
        int64 [N]: uniform + score * level cut at `limit`, with the level that gives the sum, in whole tokens.
    """
    if base >= limit:
        return np.full(scores.size, limit, dtype=np.int64)
    exact = np.full(scores.size, float(uniform))
    full = np.zeros(scores.size, dtype=bool)
    while True:
        # Heads with score 0 get a share of the surplus only once all others are full, and then equal shares.
        rest = ~full
        weights = np.where(rest, scores, 0.0)
        if not weights.any():
            weights = rest.astype(np.float64)
        surplus = base * scores.size - limit * int(full.sum()) - uniform * int(rest.sum())
        exact = np.where(full, float(limit), uniform + weights / weights.sum() * surplus)
        over = rest & (exact >= limit)
        if not over.any():
            return _whole_tokens(exact, scores, base * scores.size, limit)
        full |= over


def _whole_tokens(
    exact: NDArray[np.float64], scores: NDArray[np.float64], total: int, limit: int
) -> NDArray[np.int64]:
    """Round to whole tokens with the sum `total`, by largest remainder (ties: higher score, then lower index)."""
    whole = np.minimum(np.floor(exact), limit).astype(np.int64)
    order = np.lexsort((np.arange(exact.size), -scores, whole - exact))
    while (missing := total - int(whole.sum())) > 0:  # more than once only after a rounding error of the sum
        room = order[whole[order] < limit]
        whole[room[:missing]] += 1
    return whole


def random_scores(num_layers: int, num_kv_heads: int, seed: int) -> NDArray[np.float64]:
    """Random scores, float64 [L, Hkv]: uniform in [0, 1), then normalised; reproducible for a shape and seed."""
    values = np.random.default_rng(seed).random((num_layers, num_kv_heads))
    normalised: NDArray[np.float64] = values / values.sum()
    return normalised
