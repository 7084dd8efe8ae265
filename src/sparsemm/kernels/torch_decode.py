"""Attention over the flat storage with plain torch operations: no compiler, no loop over heads, no copy.

Each bucket is read in place as one dense strided batch. Two batched matrix products are used because
`scaled_dot_product_attention` is slower here on CPU (up to 2 times at head_dim 24 and one query a sequence).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.kernels.buckets import Bucket


def token_view(tokens: torch.Tensor, width: int, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's tokens, in place: [n, 2D, count], D channels of keys, then D of values."""
    stride = (2 * bucket.capacity * width, bucket.capacity, 1)
    return tokens.as_strided((bucket.count, 2 * width, count), stride, 2 * bucket.base * width + column)


def mask_view(bias: torch.Tensor, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's mask, in place: [n, 1, count]."""
    return bias.as_strided((bucket.count, 1, count), (bucket.capacity, 0, 1), bucket.base + column)


def attend(
    query: torch.Tensor,
    tokens: torch.Tensor,
    bias: torch.Tensor,
    buckets: Sequence[Bucket],
    *,
    scaling: float,
    grown: int,
    fresh: int = 1,
    masked: bool = False,
    sums: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Softmax attention of every sequence's queries over its own columns of the storage, [S, M, D].

    query [S, M, D] in storage order, M = group * fresh; bias is 0 on tokens and -inf on everything else that
    is read. `grown` columns were appended since the buckets were cut, the newest `fresh` of them belong to
    the queries (causal among them). `masked`: some appended tokens are pads, so that even uniform buckets
    need the mask. `sums`: gets the logarithm of each softmax's denominator, float32 [n, M] a bucket; there a
    query that sees nothing is allowed (-inf, and NaN as its attention).
    """
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
