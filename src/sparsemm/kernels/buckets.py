"""Length bucketing: cut sorted sequence lengths into a few buckets, each of which is one dense batched call.

A bucket pads its sequences to the longest of them. Few buckets waste reads on padding, many waste time on calls; the
optimal cut is found by dynamic programming over the distinct lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Cost of one more bucket, in bytes of keys and values that could be read instead. CPU: by benchmarks/decode_cpu.py,
# where 150,000 and 250,000 decode small caches more slowly and large ones no faster. CUDA: an estimate, not measured.
CALL_BYTES = {"cpu": 500_000, "cuda": 50_000_000}
MAX_DISTINCT = 64  # lengths are rounded up to at most this many values before the cut


@dataclass(frozen=True)
class Bucket:
    """Consecutive sequences of the flat storage that are padded to one length.

    Attributes:
        first: sequences before the bucket.
        count: sequences in it.
        base: slot of its first sequence.
        length: the longest sequence at allocation, tokens.
        capacity: slots of each sequence.
        uniform: all sequences have that length, so no mask is needed.
    """

    first: int
    count: int
    base: int
    length: int
    capacity: int
    uniform: bool


def cut(lengths: Sequence[int], counts: Sequence[int], call_tokens: float) -> list[int]:
    """Ends of the cheapest buckets of `lengths` (ascending, distinct), of which each has `counts` sequences.

    A bucket costs `call_tokens` plus its padded size in tokens. The ends are exclusive indexes; the last is
    len(lengths).
    """
    best, cuts = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        members = 0
        cost, at = float("inf"), end - 1
        for start in range(end - 1, -1, -1):
            members += counts[start]
            candidate = best[start] + call_tokens + members * lengths[end - 1]
            if candidate < cost:
                cost, at = candidate, start
        best.append(cost)
        cuts.append(at)
    ends: list[int] = []
    end = len(lengths)
    while end > 0:
        ends.append(end)
        end = cuts[end]
    return ends[::-1]


def plan(ordered: Sequence[int], reserve: int, token_bytes: int, device: str) -> list[Bucket]:
    """Buckets for the ascending lengths `ordered`; each sequence has its bucket's length plus `reserve` slots.

    `token_bytes` is the size of one token's key and value; `device` is a torch device type.
    """
    if not ordered:
        return []
    step = max(1, -(-ordered[-1] // MAX_DISTINCT))
    distinct: list[int] = []
    counts: list[int] = []
    for length in ordered:
        rounded = max(step, -(-length // step) * step)
        if distinct and distinct[-1] == rounded:
            counts[-1] += 1
        else:
            distinct.append(rounded)
            counts.append(1)
    call_tokens = CALL_BYTES.get(device, CALL_BYTES["cuda"]) / token_bytes
    buckets: list[Bucket] = []
    first = base = start = 0
    for end in cut(distinct, counts, call_tokens):
        count = sum(counts[start:end])
        length = ordered[first + count - 1]
        capacity = length + reserve
        buckets.append(Bucket(first, count, base, length, capacity, ordered[first] == length))
        first, base, start = first + count, base + count * capacity, end
    return buckets
