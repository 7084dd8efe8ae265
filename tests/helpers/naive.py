"""The compression methods as the paper defines them, in plain loops over numbers, without any code of the package.

A prompt is [Hkv][P] pooled values (P positions before the window, pads cut off); attention rows are [Hq][w][T].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Pooled = Sequence[Sequence[float]]


def pooled(rows: Sequence[Sequence[Sequence[float]]], kv_heads: int, window: int, kernel: int = 5):
    """Mean over the window's queries, mean over the group, average pooling with counted zero padding: [Hkv][P].

    rows: [Hq][window][T] attention weights of the last queries, pads cut off.
    """
    group = len(rows) // kv_heads
    past = max(len(rows[0][0]) - window, 0)
    result = []
    for kv in range(kv_heads):
        heads = rows[kv * group : (kv + 1) * group]
        mean = [0.0] * past
        for head in heads:
            for row in head[-window:]:
                for column in range(past):
                    mean[column] += row[column] / window / group
        reach = kernel // 2
        result.append([sum(mean[max(i - reach, 0) : min(i + reach + 1, past)]) / kernel for i in range(past)])
    return result


def snapkv(pooled: Pooled, budget: int, window: int, layer: int, layers: int) -> list[int]:
    past = len(pooled[0])
    if past + window < budget:
        return [past] * len(pooled)
    return [budget - window] * len(pooled)


def pyramidkv(pooled: Pooled, budget: int, window: int, layer: int, layers: int, beta: int = 20) -> list[int]:
    past, base = len(pooled[0]), budget - window
    if past < base:
        return [past] * len(pooled)
    if layers == 1:  # the paper divides by L - 1: one layer gets the mean, which is the budget
        return [base] * len(pooled)
    least = base // beta
    most = base * 2 - least
    if most >= past:
        most = past
        least = base * 2 - most
    step = (most - least) // (layers - 1)
    return [most - layer * step] * len(pooled)


def adakv(
    pooled: Pooled, budget: int, window: int, layer: int, layers: int, floor: float = 0.2, weigh: bool = True
) -> list[int]:
    past, base = len(pooled[0]), budget - window
    if base > past:
        return [past] * len(pooled)
    entries = []
    for head, values in enumerate(pooled):
        ranked = sorted((np.float32(v) for v in values), reverse=True)
        total = np.float32(sum(ranked))
        weight = np.float32(sum(ranked[:base])) / total if total else np.float32(0)
        weight = weight if weigh else np.float32(1)  # values that are no shares are compared as they are
        entries += [(-(v * weight), head) for v in ranked]
    taken = sorted(entries)[: len(pooled) * base]
    counts = [sum(1 for _, head in taken if head == h) for h in range(len(pooled))]
    return [min(past, round(float(np.float32(c * (1 - floor))) + int(floor * base))) for c in counts]


def allocated(scores, pooled: Pooled, budget: int, window: int, layer: int, rho: float = 0.1) -> list[int]:
    """SparseMM's formula; scores [L][Hq or Hkv] that sum to 1, summed per group."""
    past, base = len(pooled[0]), budget - window
    if past < base:
        return [past] * len(pooled)
    group = len(scores[0]) // len(pooled)
    uniform = int(base * rho)
    remain = (base - uniform) * len(scores) * len(pooled)
    shares = [sum(scores[layer][h * group : (h + 1) * group]) for h in range(len(pooled))]
    return [min(past, round(share * remain + uniform)) for share in shares]


def visual_ada(
    scores, pooled: Pooled, budget: int, window: int, layer: int, layers: int, prior: float = 0.5, weigh=True
) -> list[int]:
    """Between AdaKV's counts of this prompt and SparseMM's counts of the scores."""
    past, base = len(pooled[0]), budget - window
    if past < base:
        return [past] * len(pooled)
    seen = adakv(pooled, budget, window, layer, layers, weigh=weigh)
    known = allocated(scores, pooled, budget, window, layer)
    return [min(past, round((1 - prior) * a + prior * s)) for a, s in zip(seen, known)]


def duo_heads(scores, pooled: Pooled, budget: int, window: int, layer: int, sinks: int = 4) -> list[int]:
    """The best heads of the model keep all, as many as the budget pays for; the others `sinks`."""
    past, base, heads = len(pooled[0]), budget - window, len(pooled)
    if past <= base:
        return [past] * heads
    group = len(scores[0]) // heads
    grouped = [[sum(row[h * group : (h + 1) * group]) for h in range(heads)] for row in scores]
    order = sorted(
        ((i, h) for i in range(len(scores)) for h in range(heads)),
        key=lambda at: (-grouped[at[0]][at[1]], at),
    )
    few = min(sinks, base)
    whole = 0
    while (whole + 1) * (past - few) <= len(order) * (base - few):
        whole += 1
    return [past if order.index((layer, h)) < whole else few for h in range(heads)]


def kept(pooled: Pooled, counts: Sequence[int], tokens: int) -> list[list[bool]]:
    """Positions kept, [Hkv][tokens]: the best of each head, equals by position, and all of the window."""
    result = []
    for values, count in zip(pooled, counts, strict=True):
        best = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
        result.append([i in best or i >= len(values) for i in range(tokens)])
    return result
