"""What a policy keeps before any prompt is known, for the policies that do not look at the attention."""

from __future__ import annotations

import torch

from sparsemm.policies.base import Policy


def planned_keep(policy: Policy, num_layers: int, num_kv_heads: int) -> torch.Tensor | None:
    """Tokens kept beyond the window where the prompt sets no limit.

    Args:
        policy: with a budget.
        num_layers: of the text model.
        num_kv_heads: of each layer.

    Returns:
        int64 [L, Hkv], or None for a policy that decides by the attention or by the length of each prompt.
    """
    assert policy.budget is not None
    if getattr(policy, "by_length", False):
        return None
    # Attention on all tokens alike, on few and more in later heads, on one token a head: who looks at it keeps others.
    flat = torch.ones(1, num_kv_heads, 4 * policy.budget)
    steep = torch.arange(1, num_kv_heads + 1)[None, :, None] * 0.5 ** torch.arange(flat.shape[-1])
    single = torch.zeros_like(flat)
    single[..., 0] = 1
    for layer in range(num_layers):
        first, *others = (
            policy.keep(pooled, layer=layer, num_layers=num_layers) for pooled in (flat, steep, single)
        )
        if not all(torch.equal(first, other) for other in others):
            return None
    # No head can get more tokens than the budget of the whole model, so a prompt of that length limits none.
    endless = torch.zeros(1).expand(1, num_kv_heads, policy.budget * num_layers * num_kv_heads)
    kept = [policy.keep(endless, layer=layer, num_layers=num_layers)[0] for layer in range(num_layers)]
    return torch.stack(kept)
