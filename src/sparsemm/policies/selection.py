"""Which prompt tokens a KV head keeps: pooled attention ranks them, `select` takes the best (the SnapKV
recipe).

Queries of the last `window` positions attend to all keys (scaled, causal inside the window, softmax in
float32); mean over the window's queries, mean over the query heads of a group, 1-D average pooling over key
positions with zero padding counted. Only window rows are ever formed, never a T x T matrix, and keys are
never repeated.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from sparsemm.errors import InputError
from sparsemm.kernels.device import runs_triton

# Attention weights formed at once (float32 elements): long prompts go through in blocks of KV heads. A GPU wants few
# launches (32 MiB); on a CPU 2 MiB stay in its caches (32,768 tokens, 12 heads, one thread: 23 against 65 ms).
_BLOCK_ELEMENTS = {"cuda": 1 << 23, "cpu": 1 << 19}


def pooled_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    *,
    window: int = 32,
    kernel: int = 5,
    scaling: float | None = None,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rank value of every token before the window, float32 [B, Hkv, max(T - window, 0)].

    query: [B, Hq, T, D] or its last min(window, T) rows; key: [B, Hkv, T, D], both after RoPE.
    scaling: factor on query @ key, 1 / sqrt(D) unless given.
    valid: bool [B, T], False at the pads of a left-padded batch. Pads get no attention, pad queries do not
    count in the mean, and pad positions come out as -inf, so a padded row ranks exactly like the unpadded
    one. Raises InputError for shapes that do not fit, an even kernel, or a window below 1.
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
    past = total - window
    if past <= 0:
        return query.new_zeros((batch, num_kv_heads, 0), dtype=torch.float32)

    group = query.shape[1] // num_kv_heads
    scale = dim**-0.5 if scaling is None else scaling
    attention = _in_kernel(query[:, :, -window:], key, scale) if valid is None else None
    if attention is None:
        rows = query[:, :, -window:].reshape(batch, num_kv_heads, group * window, dim)  # [B, Hkv, G*w, D]
        elements = _BLOCK_ELEMENTS.get(key.device.type, _BLOCK_ELEMENTS["cuda"])
        block = max(1, elements // (batch * group * window * total))
        attention = torch.cat(
            [
                _mean_attention(rows[:, h : h + block], key[:, h : h + block], window, scale, valid)
                for h in range(0, num_kv_heads, block)
            ],
            dim=1,
        )  # [B, Hkv, P]
    pooled = functional.avg_pool1d(attention, kernel_size=kernel, stride=1, padding=kernel // 2)
    if valid is not None:  # pooling leaks attention onto the pads next to the first real token
        pooled = pooled.masked_fill(~valid[:, None, :past], float("-inf"))
    return pooled


def _in_kernel(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor | None:
    """`_mean_attention` by the Triton kernels, None where they do not run."""
    if not runs_triton(key):
        return None
    from sparsemm.kernels.triton_window import takes, window_attention

    return window_attention(query, key, scale) if takes(query, key) else None


def _mean_attention(
    rows: torch.Tensor, key: torch.Tensor, window: int, scale: float, valid: torch.Tensor | None
) -> torch.Tensor:
    """Attention of the window's queries to the past, averaged over queries and group: float32 [B, h, P]."""
    batch, heads, _, _ = rows.shape
    total = key.shape[2]
    weights = torch.matmul(rows.float() * scale, key.float().transpose(-1, -2))  # [B, h, G*w, T]
    weights = weights.view(batch, heads, -1, window, total)
    future = torch.ones(window, window, dtype=torch.bool, device=key.device).triu_(1)
    weights[..., total - window :].masked_fill_(future, float("-inf"))
    if valid is None:
        return weights.softmax(dim=-1)[..., : total - window].mean(dim=(2, 3))
    weights.masked_fill_(~valid[:, None, None, None, :], float("-inf"))
    real = valid[:, total - window :]  # a pad query sees no key at all: its softmax is NaN and is left out
    past = weights.softmax(dim=-1)[..., : total - window].masked_fill_(~real[:, None, None, :, None], 0.0)
    count = real.sum(dim=-1).clamp(min=1)[:, None, None]  # [B, 1, 1]
    return past.sum(dim=3).mean(dim=2) / count


def rank_positions(pooled: torch.Tensor) -> torch.Tensor:
    """Place of every position in its head's ranking, int64 [B, Hkv, P]: 0 is best, equals by position."""
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
    """The kept positions, bool [..., B, Hkv, T]: each head's `keep` best positions and the last `window`.

    pooled: [B, Hkv, P]; keep: int64 [..., B, Hkv] (leading dimensions, one per policy say, share one
    ranking). Positions that pooled marks as pads (-inf) are never kept; with valid, bool [B, T], pads inside
    the window are dropped too. tokens: T where it cannot be told from pooled, for prompts shorter than the
    window (the default there is T = window). ranks: `rank_positions(pooled)` if it is already at hand: the
    same positions, but a whole ranking costs more than the best of it.
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
    """`rank_positions(pooled) < keep`, keep [..., B, Hkv, 1], without the whole ranking: bool [..., B, Hkv, P]."""
    past = pooled.shape[-1]
    most = min(int(keep.max()) if keep.numel() else 0, past)
    if most < 1:
        return (pooled > float("inf")) & (keep > 0)  # nothing, in the shape of something
    values = pooled.topk(most, dim=-1).values.expand(*keep.shape[:-1], most)
    least = values.gather(-1, keep.clamp(1, most) - 1)  # the worst value that is kept
    above, equal = pooled > least, pooled == least
    room = keep - above.sum(-1, keepdim=True)  # of the equal ones the first fit, as in a stable ranking
    return above | equal & (equal.cumsum(-1) <= room)
