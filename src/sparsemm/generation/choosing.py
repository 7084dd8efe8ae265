"""From a policy to what one cache layer keeps of a prompt."""

from __future__ import annotations

import torch

from sparsemm.cache.ragged import Chooser
from sparsemm.policies import Policy
from sparsemm.policies.selection import pooled_attention, select


def chooser(policy: Policy, layer: int, num_layers: int) -> Chooser:
    """What a cache layer keeps at prefill under this policy; pads are never kept."""

    def choose(
        query: torch.Tensor, key: torch.Tensor, valid: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        if policy.budget is None:
            everything = key.new_ones(key.shape[:3], dtype=torch.bool)
            return everything if valid is None else everything & valid[:, None]
        window = policy.window
        pooled = pooled_attention(
            query[:, :, -window:], key, window=window, kernel=policy.kernel, scaling=scaling, valid=valid
        )
        keep = policy.keep(pooled, layer=layer, num_layers=num_layers)
        return select(pooled, keep, window=window, valid=valid, tokens=key.shape[2])

    return choose
