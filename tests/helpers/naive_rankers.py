"""The rankers as their papers define them, in plain loops over numbers, without any code of the package.

A prompt is attention [Hq][T][T] (row r: what query r attends to each key), keys and values [Hkv][T][D] and image [T],
pads cut off. Every function returns [Hkv][P], the values of the P = T - window tokens before the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from helpers import naive

Rows = Sequence[Sequence[Sequence[float]]]


class Prompt(NamedTuple):
    attention: Rows
    key: Rows
    value: Rows
    image: Sequence[bool]


def attention_of(query: Rows, key: Rows, scaling: float) -> list[list[list[float]]]:
    """[Hq][T][T] causal softmax attention of queries [Hq][T][D] to keys [Hkv][T][D]."""
    group, total = len(query) // len(key), len(key[0])
    result = []
    for head, rows in enumerate(query):
        keys = key[head // group]
        result.append([])
        for at, row in enumerate(rows):
            logits = [scaling * sum(a * b for a, b in zip(row, keys[j])) for j in range(at + 1)]
            top = max(logits)
            weights = [math.exp(value - top) for value in logits]
            result[-1].append([w / sum(weights) for w in weights] + [0.0] * (total - at - 1))
    return result


def length(vector: Sequence[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))


def window_attention(prompt: Prompt, window: int, kernel: int = 5):
    last = [head[-window:] for head in prompt.attention]
    return naive.pooled(last, len(prompt.key), window, kernel)


def value_attention(prompt: Prompt, window: int):
    pooled = window_attention(prompt, window)
    return [[p * length(v) for p, v in zip(row, values)] for row, values in zip(pooled, prompt.value)]


def last_query(prompt: Prompt, window: int):
    """TOVA: the mean of all heads, the same for every KV head."""
    heads, past = len(prompt.attention), max(len(prompt.image) - window, 0)
    mean = [sum(head[-1][j] for head in prompt.attention) / heads for j in range(past)]
    return [mean for _ in prompt.key]


def accumulated_attention(prompt: Prompt, window: int, average: bool = False):
    """H2O: the sum over queries; `average`: kvpress's ObservedAttention."""
    group, total = len(prompt.attention) // len(prompt.key), len(prompt.image)
    result = []
    for kv in range(len(prompt.key)):
        heads = prompt.attention[kv * group : (kv + 1) * group]
        row = []
        for j in range(max(total - window, 0)):
            got = sum(head[r][j] for head in heads for r in range(j, total)) / group
            row.append(got / (total - j) if average else got)
        result.append(row)
    return result


def key_norm(prompt: Prompt, window: int):
    past = max(len(prompt.image) - window, 0)
    return [[-length(k) for k in keys[:past]] for keys in prompt.key]


def key_diff(prompt: Prompt, window: int):
    past = max(len(prompt.image) - window, 0)
    result = []
    for keys in prompt.key:
        unit = [[x / length(k) for x in k] for k in keys]
        anchor = [sum(k[d] for k in unit) / len(unit) for d in range(len(unit[0]))]
        cosines = [sum(a * b for a, b in zip(k, anchor)) / length(anchor) for k in unit]
        result.append([-c for c in cosines[:past]])
    return result


def streaming(prompt: Prompt, window: int, sinks: int = 4):
    past = max(len(prompt.image) - window, 0)
    order = list(range(min(sinks, past))) + list(range(past - 1, sinks - 1, -1))
    return [[float(-order.index(j)) for j in range(past)] for _ in prompt.key]


def image_aware(prompt: Prompt, window: int):
    """Text before image: an image token's attention is shrunk below that of every text token."""
    return [
        [p * 2.0**-40 if prompt.image[j] else max(p, 2.0**-40) for j, p in enumerate(row)]
        for row in window_attention(prompt, window)
    ]
