"""What the benchmarks of the hub share: rows that were fetched, the text they are asked with, answers and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sparsemm.benchmarks.base import Generation, Row, Sample
from sparsemm.benchmarks.metric import Metric
from sparsemm.errors import InputError

if TYPE_CHECKING:
    from sparsemm.benchmarks.stored import Join, Stored, StoredRow

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")  # families whose finished answers are cut at a stop string
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class HubBenchmark:
    """Questions about images, fetched from the hub and kept as they are there.

    Attributes:
        name: in configurations and result paths.
        metric: what tables call the score.
        hub: ids of the data set, in the order in which they are tried.
        config: the data set's configuration.
        split: its split.
        columns: name -> kinds that are allowed (see `Stored`); the image is in "image".
        ask: the text that the model is asked, from a row.
        answers: the right answers of a row, as strings; none where the row has none.
        rules: the metric under "paper" and "current".
        new_tokens: the longest answer in tokens, one number or a number a family ("" for all others).
        until: where the finished answers of Qwen models are cut.
        join: where the images are, if not among the rows.
        folder: where the rows are; default: data/benchmarks/<name>.
    """

    name: str
    metric: str
    hub: tuple[str, ...]
    config: str
    split: str
    columns: Mapping[str, tuple[str, ...]] = field(repr=False)
    ask: Callable[[Row], str] = field(repr=False)
    answers: Callable[[Row], Sequence[str]] = field(repr=False)
    rules: Mapping[str, Metric] = field(repr=False)
    new_tokens: int | Mapping[str, int]
    until: tuple[str, ...] = ("\n\n",)
    join: Join | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        """The folder's default holds the name."""
        if self.folder == Path():
            object.__setattr__(self, "folder", Path("data/benchmarks") / self.name)

    @property
    def stored(self) -> Stored:
        """What is read of the data set."""
        from sparsemm.benchmarks.stored import Stored

        return Stored(self.name, self.config, self.split, self.columns, self.join)

    def generation(self, family: str) -> Generation:
        """The longest answer and the stop strings for models of a family."""
        tokens = self.new_tokens
        if not isinstance(tokens, int):
            tokens = tokens[family] if family in tokens else tokens[""]
        return Generation(tokens, self.until if family in QWEN else ())

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield the shard's samples; see `Benchmark.load`. All questions about an image are in one shard.

        Raises:
            InputError: for data that were not fetched or have other columns, a shard out of range, or a row without
                answers.
        """
        from sparsemm.benchmarks.stored import stored_rows

        found = stored_rows(self.stored, self.folder, count, shard=shard, shards=shards)
        return (self._sample(row) for row in found)

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """The text of a row, the same for every family and rule set."""
        return self.ask(row)

    def _sample(self, row: StoredRow) -> Sample:
        own = f"{self.name}-{row.index:06d}"
        answers = tuple(self.answers(row.data))
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise InputError(
                f"benchmarks.{self.name}: row {own} has no answers; "
                f"use a split and a revision that have them ({self.split} had)"
            )
        return Sample(own, row.image_id, answers, row.data, row.image)


def text(row: Row, column: str) -> str:
    """A column of a row that must hold a string.

    Raises:
        KeyError: for a missing column.
        InputError: for a cell of another type.
    """
    value = row[column]
    if not isinstance(value, str):
        raise InputError(f"{column} is {value!r}: give a string")
    return value


def question(row: Row) -> str:
    """The row's question, asked for a word or phrase."""
    return text(row, "question") + SHORT_ANSWER


def one_answer(row: Row) -> list[str]:
    """The column `answer`; an empty one is none."""
    return [row["answer"]] if row["answer"] else []


def all_answers(row: Row) -> list[str]:
    """The column `answers`."""
    return list(row["answers"] or ())
