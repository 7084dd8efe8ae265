"""The three parts of a budget (window, uniform, by score) and their split over KV heads, with water-filling.

B = budget, w = window, N = KV heads of the model:  r = int(rho * (B - w));  remain = (B - w - r) * N;
k(l, h) = round(s(l, h) * remain + r) tokens kept beyond the window (paper, section 3.3, as the authors' code
does it: python and torch both round half to even). numpy only: figures and tables use this without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsemm.errors import InputError

if TYPE_CHECKING:
    import torch

_SUM_TOLERANCE = 1e-3  # float32 scores of a large model still pass, unnormalised ones do not


def check_budget(budget: int, window: int, *, owner: str = "budget") -> None:
    """Raise InputError unless both are whole numbers with budget > window >= 1."""
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
    """Raise InputError unless 0 <= value <= 1."""
    if not 0.0 <= value <= 1.0:  # also catches NaN
        raise InputError(f"{owner}: {key} is {value}: it must lie between 0 and 1")


def as_scores(scores: Any, *, owner: str = "scores") -> NDArray[np.float64]:
    """float64 [L, Hkv] from an array, tensor or lists; InputError for NaN, negative or unnormalised ones.

    All-zero scores say nothing about the heads and become uniform ones.
    """
    if hasattr(scores, "detach"):  # a tensor of any device or dtype, without importing torch
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
    """[L, Hq] -> [L, Hkv], summing each group of consecutive heads; [L, Hkv] comes back as it is."""
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
    """`allocate` as a numpy array, int64 [L, Hkv], for callers without torch."""
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
    """Tokens kept beyond the window per layer and KV head, torch.int64 [L, Hkv].

    scores_kv: [L, Hkv], summing to 1 over the model (array, tensor or lists).
    prompt_tokens None: the released recipe, to the integer; a head may then be given more than a prompt
    holds.
    prompt_tokens given: no head gets more than prompt_tokens - window, the surplus goes to the other heads in
    proportion to their scores, and the sum is exactly (budget - window) * N, or every head is full.
    Raises InputError for a budget not above the window, and for NaN, negative or unnormalised scores.
    """
    import torch

    return torch.from_numpy(
        allocate_array(scores_kv, budget, window=window, rho=rho, prompt_tokens=prompt_tokens)
    )


def _water_fill(scores: NDArray[np.float64], base: int, uniform: int, limit: int) -> NDArray[np.int64]:
    """uniform + score * level, cut at limit, with the level that makes the sum base * N; whole tokens."""
    if base >= limit:
        return np.full(scores.size, limit, dtype=np.int64)
    exact = np.full(scores.size, float(uniform))
    full = np.zeros(scores.size, dtype=bool)
    while True:
        # Heads without a score take part only once all others are full, and then alike.
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
    """Largest remainder: floors, then a token where most was cut off (ties: higher score, lower index)."""
    whole = np.minimum(np.floor(exact), limit).astype(np.int64)
    order = np.lexsort((np.arange(exact.size), -scores, whole - exact))
    while (missing := total - int(whole.sum())) > 0:  # one pass but for rounding errors of the sum
        room = order[whole[order] < limit]
        whole[room[:missing]] += 1
    return whole


def random_scores(num_layers: int, num_kv_heads: int, seed: int) -> NDArray[np.float64]:
    """Scores uniform in [0, 1), normalised, the same for the same shape and seed: float64 [L, Hkv]."""
    values = np.random.default_rng(seed).random((num_layers, num_kv_heads))
    normalised: NDArray[np.float64] = values / values.sum()
    return normalised
