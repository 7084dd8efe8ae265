"""Decode attention over FlatStore's storage with plain torch operations: no loop over heads, no copy of keys or values.

Each bucket is read in place as one dense strided batch. Two batched matrix products are used because
`scaled_dot_product_attention` is slower here on CPU (up to 2 times at head_dim 24 and one query a sequence).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from sparsemm.kernels.buckets import Bucket


class FlatTokens(NamedTuple):
    """What FlatStore holds: keys and values of sequences in buckets.

    Attributes:
        tokens: flat storage; `token_view` reads it.
        bias: 0 on tokens, -inf on every other slot that is read.
        buckets: in storage order.
        grown: columns appended since the buckets were cut.
        masked: some appended tokens are pads, so uniform buckets need the mask too.
    """

    tokens: torch.Tensor
    bias: torch.Tensor
    buckets: Sequence[Bucket]
    grown: int
    masked: bool = False


def token_view(tokens: torch.Tensor, width: int, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's tokens, in place: [n, 2D, count], D channels of keys, then D of values."""
    stride = (2 * bucket.capacity * width, bucket.capacity, 1)
    return tokens.as_strided((bucket.count, 2 * width, count), stride, 2 * bucket.base * width + column)


def mask_view(bias: torch.Tensor, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's mask, in place: [n, 1, count]."""
    return bias.as_strided((bucket.count, 1, count), (bucket.capacity, 0, 1), bucket.base + column)


def attend(
    query: torch.Tensor,
    stored: FlatTokens,
    *,
    scaling: float,
    fresh: int = 1,
    sums: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Softmax attention of every sequence's queries over its own tokens, [S, M, D].

    Args:
        query: [S, M, D] in storage order, M = query heads of a group * fresh.
        stored: the keys and values.
        scaling: factor on the products of queries and keys.
        fresh: the newest columns, which are the queries' own tokens: attention is causal among them.
        sums: list to which each bucket's log-sum-exp is appended, float32 [n, M]. Only with it may a query have no
            visible token; its log-sum-exp is then -inf and its attention NaN.
    """
    tokens, bias, buckets, grown, masked = stored
    outputs: list[torch.Tensor] = []
    width = query.shape[-1]
    for bucket in buckets:
        length = bucket.length + grown
        # Written out, not by token_view: one view fewer is one step in fifty faster on short caches.
        stride, at, plane = bucket.capacity * width, 2 * bucket.base * width, bucket.capacity
        key = tokens.as_strided((bucket.count, width, length), (2 * stride, plane, 1), at)
        value = tokens.as_strided((bucket.count, length, width), (2 * stride, 1, plane), at + stride)
        q = query if len(buckets) == 1 else query.narrow(0, bucket.first, bucket.count)
        if bucket.uniform and not masked:
            scores = torch.baddbmm(bias[:1], q, key, beta=0, alpha=scaling)  # beta 0: the first is ignored
        else:
            scores = torch.baddbmm(mask_view(bias, bucket, 0, length), q, key, alpha=scaling)
        if fresh > 1:
            future = torch.ones(fresh, length, dtype=torch.bool, device=q.device).triu_(length - fresh + 1)
            scores.masked_fill_(future.repeat(q.shape[1] // fresh, 1), float("-inf"))
        if sums is not None:
            sums.append(scores.float().logsumexp(-1))
        weights = torch.softmax(scores, -1, dtype=torch.float32)
        if value.dtype != torch.float32:
            weights = weights.to(value.dtype)
        outputs.append(torch.bmm(weights, value))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
