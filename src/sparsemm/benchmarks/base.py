"""What a benchmark is: rows, a prompt and a metric. Synthetic and hub benchmarks share this shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sparsemm.benchmarks.images import LazyImage
from sparsemm.benchmarks.metric import Metric
from sparsemm.errors import InputError

Row = Mapping[str, Any]  # the columns of the data set, image left out


@dataclass(frozen=True)
class Sample:
    """One question about one image.

    Attributes:
        id: unique in the benchmark; sorts like the sample's place in the data set.
        image_id: equal for all questions about one image.
        answers: the right answers, as the predictions file shows them.
        data: the row's own columns, which prompt and metric read.
        image: decoded by `image.open()` only.
    """

    id: str
    image_id: str
    answers: tuple[str, ...]
    data: Row
    image: LazyImage = field(repr=False, compare=False)


class Generation(NamedTuple):
    """How long an answer gets.

    Attributes:
        max_new_tokens: the longest answer, in tokens.
        until: the finished answer is cut where the first of these strings appears.
    """

    max_new_tokens: int
    until: tuple[str, ...] = ()


@runtime_checkable
class Benchmark(Protocol):
    """A named set of questions, the text they are asked with and how answers are scored."""

    @property
    def name(self) -> str:
        """The name in configurations and result paths."""

    @property
    def metric(self) -> str:
        """What tables call the score."""

    @property
    def rules(self) -> Mapping[str, Metric]:
        """The metric under every named rule set: "paper" (the authors' evaluation), "current" (today's lmms-eval)."""

    def generation(self, family: str) -> Generation:
        """The longest answer and the stop strings for models of a family (`Loaded.family`)."""

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield this shard's samples of the first ``count`` (None: of all), in order, one at a time.

        Raises:
            InputError: for a shard number out of range, or data that cannot be read.
        """

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """The text that the model is asked, before its chat format.

        Args:
            row: the data set's own columns.
            family: the model's family (`Loaded.family`), for a benchmark that asks families differently.
            rules: a key of `rules`, for a benchmark whose rule sets ask differently.
        """


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
