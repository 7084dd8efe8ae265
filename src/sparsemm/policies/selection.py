"""Selects the prompt tokens that a KV head keeps (SnapKV): a ranker orders them, `select` takes the best.

`pooled_attention` is the default ranker's formula.

The queries of the last `window` positions attend to all keys (causal inside the window, softmax in float32). Their
attention is averaged over the window and over the query heads of the GQA group, then average-pooled over key positions
(zero padding counted). Only the window's rows are computed, no T x T matrix, and keys are not repeated.

All of it is in float32, or with the authors' casts to the model's dtype. Half precision has few values, so that many
positions then tie: ties go by position.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from sparsemm.errors import InputError
from sparsemm.kernels.device import runs_triton

# Attention weights computed at once (float32 elements); longer prompts are split into blocks of KV heads. Large blocks
# (32 MiB) mean few launches on a GPU; 2 MiB fit the caches of a CPU (32,768 tokens, 12 heads, one thread: 23 against
# 65 ms).
_BLOCK_ELEMENTS = {"cuda": 1 << 23, "cpu": 1 << 19}


def pooled_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    window: int = 32,
    kernel: int = 5,
    scaling: float | None = None,
    valid: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """The value that ranks every token before the window: attention of the window's queries, averaged and pooled.

    Args:
        query: [B, Hq, T, D] after RoPE, or its last min(window, T) rows.
        key: [B, Hkv, T, D] after RoPE.
        window: newest prompt tokens, whose queries are used.
        kernel: width of the average pooling over key positions, odd.
        scaling: factor on query @ key; None for 1 / sqrt(D).
        valid: bool [B, T], False at the pads of a left-padded batch. Pads get no attention, pad queries are left out of
            the mean, and pad positions are -inf in the result: a padded row ranks exactly like the unpadded one.
        dtype: a half precision computes as the authors' code does: query @ key and all that follows the softmax (which
            is in float32) in this dtype. None and float32: everything in float32.

    Returns:
        [B, Hkv, max(T - window, 0)], in float32 or in a half precision ``dtype``.

    Raises:
        InputError: for shapes that do not fit, an even kernel, or a window below 1.
    """
    batch, num_kv_heads, total, dim = key.shape
    if window < 1 or kernel < 1 or kernel % 2 == 0:
        raise InputError(f"window={window}, kernel={kernel}: window must be >= 1 and kernel odd and >= 1")
    if query.shape[0] != batch or query.shape[-1] != dim or query.shape[1] % num_kv_heads:
        raise InputError(
            f"query {tuple(query.shape)} does not fit key {tuple(key.shape)}: "
            "batch and head size must agree and the query heads be a multiple of the KV heads"
        )
    if query.shape[2] not in (total, min(window, total)):
        raise InputError(
            f"query has {query.shape[2]} rows: give all {total} or the last {min(window, total)} of them"
        )
    if valid is not None and valid.shape != (batch, total):
        raise InputError(f"valid has shape {tuple(valid.shape)}: it must be {(batch, total)}")
    half = None if dtype is torch.float32 else dtype
    past = total - window
    if past <= 0:
        return query.new_zeros((batch, num_kv_heads, 0), dtype=half or torch.float32)

    group = query.shape[1] // num_kv_heads
    scale = dim**-0.5 if scaling is None else scaling
    attention = _in_kernel(query[:, :, -window:], key, scale) if valid is None and half is None else None
    if attention is None:
        rows = query[:, :, -window:].reshape(batch, num_kv_heads, group * window, dim)  # [B, Hkv, G*w, D]
        elements = _BLOCK_ELEMENTS.get(key.device.type, _BLOCK_ELEMENTS["cuda"])
        block = max(1, elements // (batch * group * window * total))
        attention = torch.cat(
            [
                _mean_attention(rows[:, h : h + block], key[:, h : h + block], window, scale, valid, half)
                for h in range(0, num_kv_heads, block)
            ],
            dim=1,
        )  # [B, Hkv, P]
    pooled = functional.avg_pool1d(attention, kernel_size=kernel, stride=1, padding=kernel // 2)
    if valid is not None:  # pooling spreads attention to the pads before the first token
        pooled = pooled.masked_fill(~valid[:, None, :past], float("-inf"))
    return pooled


def _in_kernel(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor | None:
    """`_mean_attention` by the Triton kernels; None where they cannot run."""
    if not runs_triton(key):
        return None
    from sparsemm.kernels.triton_window import takes, window_attention

    return window_attention(query, key, scale) if takes(query, key) else None


def _mean_attention(
    rows: torch.Tensor,
    key: torch.Tensor,
    window: int,
    scale: float,
    valid: torch.Tensor | None,
    half: torch.dtype | None,
) -> torch.Tensor:
    """Attention of the window's queries to the tokens before it, averaged over queries and GQA group.

    Args:
        rows: queries of the window, [B, h, G * w, D].
        key: [B, h, T, D].
        window: w.
        scale: factor on query @ key.
        valid: bool [B, T], False at pads.
        half: dtype of everything but the softmax; None: float32.

    Returns:
        float32, or ``half``, [B, h, P] with P = T - w.
    """
    batch, heads, _, _ = rows.shape
    total = key.shape[2]
    if half is None:
        weights = torch.matmul(rows.float() * scale, key.float().transpose(-1, -2))  # [B, h, G*w, T]
    else:
        weights = torch.matmul(rows.to(half), key.to(half).transpose(-1, -2)) / (1 / scale)
    weights = weights.view(batch, heads, -1, window, total)
    future = torch.ones(window, window, dtype=torch.bool, device=key.device).triu_(1)
    weights[..., total - window :].masked_fill_(future, float("-inf"))
    if valid is not None:
        weights.masked_fill_(~valid[:, None, None, None, :], float("-inf"))
    if half is not None:
        return _mean_in_half(weights, window, valid, half)
    if valid is None:
        return weights.softmax(dim=-1)[..., : total - window].mean(dim=(2, 3))
    real = valid[:, total - window :]  # a pad query attends to no key: its softmax is NaN
    past = weights.softmax(dim=-1)[..., : total - window].masked_fill_(~real[:, None, None, :, None], 0.0)
    count = real.sum(dim=-1).clamp(min=1)[:, None, None]  # [B, 1, 1]
    return past.sum(dim=3).mean(dim=2) / count


def _mean_in_half(
    weights: torch.Tensor, window: int, valid: torch.Tensor | None, half: torch.dtype
) -> torch.Tensor:
    """The mean attention of masked logits [B, h, G, w, T], rounded to ``half`` after softmax, window and group.

    Sums are taken in float32 and rounded once, as a GPU does, so that every device gives the same ties.
    """
    past = weights.softmax(dim=-1, dtype=torch.float32)[..., : weights.shape[-1] - window].to(half).float()
    if valid is None:
        mean = past.mean(dim=3)
    else:
        real = valid[:, None, None, valid.shape[1] - window :, None]  # a pad query attends to no key: NaN
        mean = past.masked_fill_(~real, 0.0).sum(dim=3) / real.sum(dim=3).clamp(min=1)
    return mean.to(half).mean(dim=2, dtype=torch.float32).to(half)


def rank_positions(pooled: torch.Tensor) -> torch.Tensor:
    """Rank of every position in its head, int64 [B, Hkv, P]: 0 is the best, ties go by position."""
    order = torch.argsort(pooled, dim=-1, descending=True, stable=True)
    places = torch.arange(pooled.shape[-1], device=pooled.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def select(
    pooled: torch.Tensor,
    keep: torch.Tensor,
    *,
    window: int,
    valid: torch.Tensor | None = None,
    tokens: int | None = None,
    ranks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The kept positions: each head's `keep` best positions and the last `window`.

    Args:
        pooled: float32 [B, Hkv, P] from a ranker, -inf at pads, which are never kept.
        keep: int64 [..., B, Hkv]; leading dimensions, such as one per policy, use the same ranking.
        window: newest prompt tokens, always kept.
        valid: bool [B, T]; drops pads inside the window too.
        tokens: T, needed for prompts shorter than the window; None for P + window.
        ranks: `rank_positions(pooled)`, if already computed. The result is the same; computing them only for this call
            costs more than the default.

    Returns:
        bool [..., B, Hkv, T].

    Raises:
        InputError: for shapes that do not fit.
    """
    past = pooled.shape[-1]
    if keep.shape[-2:] != pooled.shape[:2]:
        raise InputError(
            f"keep {tuple(keep.shape)} does not end in pooled's [B, Hkv] = {tuple(pooled.shape[:2])}"
        )
    total = tokens if tokens is not None else (valid.shape[1] if valid is not None else past + window)
    if total > past + window or (past and total != past + window):
        raise InputError(f"{total} tokens do not fit {past} ranked positions and a window of {window}")
    keep = keep.to(pooled.device)[..., None]
    chosen = _best(pooled, keep) if ranks is None else ranks < keep
    chosen = chosen & (pooled > float("-inf"))
    recent = chosen.new_ones((*chosen.shape[:-1], total - past))
    if valid is not None:
        recent = recent & valid[:, None, past:]
    return torch.cat([chosen, recent], dim=-1)


def _best(pooled: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """`rank_positions(pooled) < keep` without ranking all positions: bool [..., B, Hkv, P]; keep [..., B, Hkv, 1]."""
    past = pooled.shape[-1]
    most = min(int(keep.max()) if keep.numel() else 0, past)
    if most < 1:
        return (pooled > float("inf")) & (keep > 0)  # all False, in the broadcast shape
    values = pooled.topk(most, dim=-1).values.expand(*keep.shape[:-1], most)
    least = values.gather(-1, keep.clamp(1, most) - 1)  # the smallest value kept
    above, equal = pooled > least, pooled == least
    room = keep - above.sum(-1, keepdim=True)  # ties: the first positions, as in a stable ranking
    return above | equal & (equal.cumsum(-1) <= room)
