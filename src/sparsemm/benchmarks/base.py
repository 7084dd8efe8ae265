"""What a benchmark is: a source of samples, a prompt, a metric. Synthetic and hub benchmarks share this shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from PIL import Image

from sparsemm.errors import InputError


@dataclass(frozen=True)
class Sample:
    """One question about one image.

    ``id`` sorts like the sample's place in its data set; ``dataset`` is the source inside a mixed benchmark
    (OCRBench scores ``HME100k`` differently), empty elsewhere.
    """

    id: str
    image: Image.Image = field(repr=False, compare=False)
    prompt: str
    answers: tuple[str, ...]
    dataset: str = ""


@runtime_checkable
class Benchmark(Protocol):
    """A named set of samples with one metric (values in [0, 1])."""

    @property
    def name(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def max_new_tokens(self) -> int: ...

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield this shard's samples of the first ``count``, in order.

        Raises:
            InputError: for a shard number out of range, or data that cannot be read.
        """
        ...

    def score(self, prediction: str, sample: Sample) -> float:
        """The metric of one prediction."""
        ...


def shard_indices(count: int, shard: int, shards: int) -> range:
    """Sample indices of shard ``shard`` (0-based) of ``shards``: contiguous, sizes that differ by one at most.

    Raises:
        InputError: when the shard is not one of them, or the count is not positive.
    """
    if count < 1:
        raise InputError(f"benchmarks.samples: {count} is not a number of samples; use 1 or more")
    if shards < 1 or not 0 <= shard < shards:
        raise InputError(
            f"benchmarks.shards: shard {shard} of {shards} does not exist; use 0 to {max(shards, 1) - 1}"
        )
    return range(count * shard // shards, count * (shard + 1) // shards)
