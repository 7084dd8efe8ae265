"""Every ranker and every allocator on a pretend CUDA device keep what they keep on the CPU, with and without pads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sparsemm import make_policy
from sparsemm.generation.selector import token_selector
from sparsemm.policies import POLICY_NAMES, RANKER_NAMES
from sparsemm.policies.rankers import AccumulatedAttention

PAIRS = [f"snapkv@{ranker}" for ranker in RANKER_NAMES]
PAIRS += [f"{method}@{ranker}" for method in POLICY_NAMES for ranker in ("key_norm", "last_query")]
PAIRS += ["duo_heads", "sparsemm[waterfill=true]", "adakv@accumulated_attention[average=true]"]


@pytest.mark.parametrize("padded", [False, True])
def test_every_pair_keeps_what_it_keeps_on_the_cpu(padded: bool, cuda: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(2, heads, 45, 8, generator=generator) for heads in (4, 2, 2))
    valid = torch.arange(45) >= torch.tensor([[0], [7]]) if padded else None
    image = torch.arange(45)[None].expand(2, -1) % 5 > 1
    scores = np.random.default_rng(0).dirichlet(np.ones(6)).reshape(3, 2)
    for label in PAIRS:
        policy = make_policy(label, budget=18, window=6, scores=scores)
        kept = []
        for device in ("cpu", "cuda"):
            q, k, v, real, shown = (
                None if side is None else side.to(device) for side in (query, key, value, valid, image)
            )
            select_tokens = token_selector(policy, 1, 3, images=lambda shown=shown: shown)
            kept.append(select_tokens(q, k, v, real, 0.3))
            assert kept[-1].device.type == device
        assert torch.equal(kept[0], kept[1].cpu()), label


def test_accumulated_attention_peaks_far_below_its_weights(cuda: Any) -> None:
    """At 2,000 tokens and 8 heads all weights are 128 MB."""
    query, key = (torch.randn(1, heads, 2000, 8).to("cuda") for heads in (8, 2))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    AccumulatedAttention(8).rank(query, key, key, scaling=0.3)
    assert torch.cuda.max_memory_allocated() - before < 0.4 * 4 * 8 * 2000 * 2000
