"""The rankers, one file each: which of a KV head's prompt tokens are kept first."""

from __future__ import annotations

from sparsemm.policies.rankers.accumulated_attention import AccumulatedAttention
from sparsemm.policies.rankers.base import Ranker
from sparsemm.policies.rankers.image_aware import ImageAware
from sparsemm.policies.rankers.key_diff import KeyDiff
from sparsemm.policies.rankers.key_norm import KeyNorm
from sparsemm.policies.rankers.last_query import LastQuery
from sparsemm.policies.rankers.random_tokens import RandomTokens
from sparsemm.policies.rankers.streaming import Streaming
from sparsemm.policies.rankers.value_attention import ValueAttention
from sparsemm.policies.rankers.window_attention import WindowAttention

__all__ = [
    "AccumulatedAttention",
    "ImageAware",
    "KeyDiff",
    "KeyNorm",
    "LastQuery",
    "RandomTokens",
    "Ranker",
    "Streaming",
    "ValueAttention",
    "WindowAttention",
]
