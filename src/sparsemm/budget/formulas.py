"""Formulas that policies (torch tensors) and the audit (NumPy arrays) share. They use only what both kinds have."""

from __future__ import annotations

from typing import Any


def pyramid_keep(past: Any, base: int, *, beta: int, layer: Any, num_layers: int) -> Any:
    """PyramidKV's tokens beyond the window (arXiv 2406.02069): a linear decrease over the layers with mean `base`.

    With least = base // beta and most = 2 * base - least: layer l keeps most - l * ((most - least) // (L - 1)). In a
    prompt with fewer tokens than `most`, most = past and least = 2 * base - past.

    Args:
        past: prompt tokens before the window; integer array or tensor of any shape.
        base: budget - window.
        beta: see above.
        layer: index of the layer, or an integer array of them that broadcasts with `past`.
        num_layers: layers of the model, L.

    Returns:
        Integers like `past`, from 0 to `past`. With one layer: `base`, at most `past`.
    """
    if num_layers == 1:
        return past.clip(max=base)
    most = past.clip(max=2 * base - base // beta)
    step = (2 * most - 2 * base) // (num_layers - 1)  # least = 2 * base - most in both cases
    return (most - layer * step).clip(min=0).clip(max=past)


def within_prompt(wanted: Any, past: Any, base: int) -> Any:
    """Limit an allocation to the prompt: at most `past` tokens; all of them in a prompt below the budget.

    Args:
        wanted: tokens beyond the window, at least 0; integer array or tensor.
        past: prompt tokens before the window; integers that broadcast with `wanted`.
        base: budget - window.
    """
    least = past * (past < base)  # the whole prompt if it is shorter than the budget
    return wanted.clip(min=least).clip(max=past)
