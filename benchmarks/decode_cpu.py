"""Decode attention on this CPU: the ragged cache against sdpa over a dense in-place cache of as many tokens.

    python benchmarks/decode_cpu.py [--threads 2]

Both sides append one token in place and attend, per layer and step, interleaved so that both see the same
machine. A ratio is the median over repeats of ragged time / dense time; the dense cache has the mean length.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import scaled_dot_product_attention

from sparsemm.cache.stores.flat_store import FlatStore

NEW_TOKENS = 100  # room that both caches reserve; a full one starts again


class DenseStore:
    """The yardstick: [B, Hkv, N, D] written in place, read by sdpa up to the current length."""

    def __init__(self, rows: int, heads: int, length: int, reserve: int, width: int) -> None:
        self.key = torch.randn(rows, heads, length + reserve, width)
        self.value = torch.randn(rows, heads, length + reserve, width)
        self.start = self.length = length

    def step(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if self.length == self.key.shape[2]:
            self.length = self.start
        self.key[:, :, self.length] = key[:, :, 0]
        self.value[:, :, self.length] = value[:, :, 0]
        self.length += 1
        keys, values = self.key[:, :, : self.length], self.value[:, :, : self.length]
        grouped = query.shape[1] != key.shape[1]
        out = scaled_dot_product_attention(query, keys, values, enable_gqa=grouped)
        return out.transpose(1, 2)


def ragged(lengths: torch.Tensor, width: int) -> FlatStore:
    """A filled store with the given lengths [R, Hkv]."""
    store = FlatStore(lengths, NEW_TOKENS, torch.empty(0, width))
    total = int(lengths.sum())
    store.fill(torch.randn(total, width), torch.randn(total, width))
    return store


def ten_to_one(rows: int, heads: int, mean: int) -> torch.Tensor:
    """Lengths [R, Hkv], shuffled, evenly spread from 1 to 10 times the shortest, with the given mean."""
    spread = torch.linspace(1.0, 10.0, rows * heads)
    lengths = (spread / spread.mean() * mean).round().long()
    return lengths[torch.randperm(rows * heads, generator=torch.Generator().manual_seed(0))].view(rows, heads)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(name: str, lengths: torch.Tensor, width: int, group: int, layers: int, repeats: int) -> None:
    """Print one row: microseconds a layer and step, and the ratio."""
    rows, heads = lengths.shape
    mean = int(lengths.float().mean().round())
    ours = [ragged(lengths, width) for _ in range(layers)]
    theirs = [DenseStore(rows, heads, mean, NEW_TOKENS, width) for _ in range(layers)]
    query = torch.randn(rows, heads * group, 1, width)
    key, value = torch.randn(2, rows, heads, 1, width)

    def step_ours() -> None:
        for store in ours:
            store.grown %= NEW_TOKENS
            store.append(key, value, None)
            store.attend(query, width**-0.5)

    def step_theirs() -> None:
        for store in theirs:
            store.step(query, key, value)

    for _ in range(3):
        step_ours(), step_theirs()
    pairs = [(timed(step_ours), timed(step_theirs)) for _ in range(repeats)]
    mine = statistics.median(a for a, _ in pairs) / layers * 1e6
    dense = statistics.median(b for _, b in pairs) / layers * 1e6
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:44s} {mine:9.0f} {dense:9.0f} {ratio:7.2f}   {len(ours[0].buckets)} buckets")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; us per layer and step")
    print(f"{'case':44s} {'ragged':>9s} {'dense':>9s} {'ratio':>7s}")
    with torch.inference_mode():
        full = torch.full((1, 12), 32768)
        compare("batch 1, 12 x 24, FullKV 32K", full, 24, 1, 6, 30)
        for rows in (1, 8):
            for mean in (64, 256, 2048):
                lengths = ten_to_one(rows, 12, mean)
                compare(f"batch {rows}, 12 x 24, 10:1, mean {mean}", lengths, 24, 1, 6, 200)
        compare("batch 1, 8 KV x 128, group 4, 10:1, mean 1024", ten_to_one(1, 8, 1024), 128, 4, 2, 100)
        lengths = torch.randint(8, 501, (600, 12), generator=torch.Generator().manual_seed(1))
        compare("600 rows, 12 x 24, lengths 8 to 500", lengths, 24, 1, 1, 10)


if __name__ == "__main__":
    main()
