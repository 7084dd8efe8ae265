"""Attention over the flat storage with plain torch operations: no compiler, no loop over heads, no copy.

Each bucket is read in place as one dense strided batch. Two batched matrix products are used because
`scaled_dot_product_attention` is slower here on CPU (1.2 to 2 times at head_dim 24 and one query a sequence).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparsemm.kernels.buckets import Bucket


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor,
    buckets: Sequence[Bucket],
    *,
    grown: int,
    masked: bool = False,
    limits: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax attention of every sequence's queries over its own rows of the storage, [S, M, D].

    query [S, M, D] is scaled and in storage order; keys, values [N, D]; bias [N] is 0 on written rows and
    -inf elsewhere. `grown` tokens were appended since the buckets were cut. `masked`: sequences of a uniform
    bucket may differ by now. limits [S, M]: how many of its sequence's rows a query may see (None: all that
    are written).
    """
    outputs: list[torch.Tensor] = []
    width = keys.shape[1]
    for bucket in buckets:
        count, length, stride = bucket.count, bucket.length + grown, bucket.capacity * width
        key = keys.as_strided((count, width, length), (stride, 1, width), bucket.base * width)
        value = values.as_strided((count, length, width), (stride, width, 1), bucket.base * width)
        q = query if len(buckets) == 1 else query.narrow(0, bucket.first, count)
        if limits is not None:
            allowed = limits.narrow(0, bucket.first, count).unsqueeze(-1)
            hidden = torch.arange(length, device=keys.device) >= allowed  # [n, M, length]
            scores = torch.bmm(q, key).masked_fill_(hidden, float("-inf"))
        elif bucket.uniform and not masked:
            scores = torch.bmm(q, key)
        else:
            mask = bias.as_strided((count, 1, length), (bucket.capacity, bucket.capacity, 1), bucket.base)
            scores = torch.baddbmm(mask, q, key)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
        outputs.append(torch.bmm(weights, value))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
