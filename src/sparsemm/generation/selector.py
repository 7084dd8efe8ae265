"""From a policy to the rule by which one cache layer selects the tokens it keeps of a prompt."""

from __future__ import annotations

import torch

from sparsemm.cache.ragged import TokenSelector
from sparsemm.policies import Policy
from sparsemm.policies.selection import Ranking, select


def token_selector(policy: Policy, layer: int, num_layers: int) -> TokenSelector:
    """The selector of one layer at prefill under a policy; pads are never kept.

    Args:
        policy: what ranks the tokens and says how many each KV head keeps.
        layer: the layer's index.
        num_layers: text layers of the model.
    """

    def select_tokens(
        query: torch.Tensor, key: torch.Tensor, valid: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        if policy.budget is None:
            everything = key.new_ones(key.shape[:3], dtype=torch.bool)
            return everything if valid is None else everything & valid[:, None]
        pooled = Ranking.of(policy).pooled(query, key, scaling=scaling, valid=valid)
        keep = policy.keep(pooled, layer=layer, num_layers=num_layers)
        return select(pooled, keep, window=policy.window, valid=valid, tokens=key.shape[2])

    return select_tokens
