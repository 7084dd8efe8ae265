"""Attention over the flat storage with plain torch operations: no compiler, no loop over heads, no copy.

Each bucket is read in place as one dense strided batch. Two batched matrix products are used because
`scaled_dot_product_attention` is slower here on CPU (up to 2 times at head_dim 24 and one query a sequence).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.kernels.buckets import Bucket


def key_view(keys: torch.Tensor, width: int, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's keys, in place: [n, D, count]."""
    stride = (bucket.capacity * width, bucket.capacity, 1)
    return keys.as_strided((bucket.count, width, count), stride, bucket.base * width + column)


def value_view(values: torch.Tensor, width: int, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's values, in place: [n, count, D]."""
    stride = (bucket.capacity * width, width, 1)
    return values.as_strided((bucket.count, count, width), stride, (bucket.base + column) * width)


def mask_view(bias: torch.Tensor, bucket: Bucket, column: int, count: int) -> torch.Tensor:
    """`count` columns of a bucket's mask, in place: [n, count]."""
    return bias.as_strided((bucket.count, count), (bucket.capacity, 1), bucket.base + column)


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    buckets: Sequence[Bucket],
    *,
    scaling: float,
    grown: int,
    fresh: int = 1,
    masked: bool = False,
) -> torch.Tensor:
    """Softmax attention of every sequence's queries over its own columns of the storage, [S, M, D].

    query [S, M, D] in storage order, M = group * fresh; bias is 0 on tokens and -inf on everything else that
    is read. `grown` columns were appended since the buckets were cut, the newest `fresh` of them belong to
    the queries (causal among them). `masked`: some appended tokens are pads, so that even uniform buckets
    need the mask.
    """
    outputs: list[torch.Tensor] = []
    width = query.shape[-1]
    for bucket in buckets:
        length = bucket.length + grown
        key = key_view(keys, width, bucket, 0, length)
        value = value_view(values, width, bucket, 0, length)
        q = query if len(buckets) == 1 else query.narrow(0, bucket.first, bucket.count)
        if bucket.uniform and not masked:
            scores = torch.baddbmm(bias[:1], q, key, beta=0, alpha=scaling)  # beta 0: the first is ignored
        else:
            mask = mask_view(bias, bucket, 0, length).unsqueeze(1)
            scores = torch.baddbmm(mask, q, key, alpha=scaling)
        if fresh > 1:
            future = torch.ones(fresh, length, dtype=torch.bool, device=q.device).triu_(length - fresh + 1)
            scores.masked_fill_(future.repeat(q.shape[1] // fresh, 1), float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
        outputs.append(torch.bmm(weights, value))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
