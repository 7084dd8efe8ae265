"""The two kinds of metric: one that scores a row by itself, one that needs the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sparsemm.errors import InputError


class Scores(NamedTuple):
    """Scores of one run: a value for every row, None where a single row has none, and the run's own value."""

    rows: list[float | None]
    total: float


class Unit(NamedTuple):
    """What a metric of a whole run counts once: a group of rotated questions, or a caption.

    Attributes:
        row: number of the row that stands for it.
        score: None where it could not be computed here.
        unread: rows of it whose answer could not be read; they count as wrong.
    """

    row: int
    score: float | None
    unread: int = 0


class Metric(Protocol):
    """Scores the predictions of one run over a benchmark."""

    @property
    def top(self) -> float:
        """The best possible value; the worst is 0."""

    @property
    def by_row(self) -> bool:
        """Whether a row's score depends on that row alone: only then has a part of a run scores."""

    def __call__(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scores:
        """Score the prediction of every row; at least one."""


@dataclass(frozen=True)
class RowMetric:
    """A metric of single rows, in [0, 1].

    Args:
        score: of a row and its prediction.
        out_of: the run's value is the sum of the scores divided by this (OCRBench: 1,000 rows); default: their number,
            so that it is the mean.
    """

    score: Callable[[Mapping[str, Any], str], float]
    out_of: int | None = None
    top: float = field(default=1.0, init=False)
    by_row: bool = field(default=True, init=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scores:
        """Score every row, and the run.

        Raises:
            InputError: naming the row that cannot be scored.
        """
        each = []
        for number, (row, text) in enumerate(zip(rows, predictions, strict=True)):
            try:
                each.append(float(self.score(row, text)))
            except InputError as error:
                raise InputError(f"row {number}: {error}") from error
        return Scores([*each], sum(each) / (self.out_of or len(each)))


@dataclass(frozen=True)
class RunMetric:
    """A metric of a whole run: CIDEr over a corpus, MMBench over groups of rotated questions.

    Args:
        score: takes all rows and predictions; the run's value is the mean of its units' scores.
        top: the best possible value (CIDEr: 10).
        lacks: what keeps the metric from being computed here, with its cure; None where nothing does.
    """

    score: Callable[[Sequence[Mapping[str, Any]], Sequence[str]], list[Unit]]
    top: float = 1.0
    lacks: Callable[[], str | None] = lambda: None
    by_row: bool = field(default=False, init=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scores:
        """Score the run.

        Raises:
            InputError: where the scores cannot be computed, with the cure.
        """
        units = self.score(rows, predictions)
        if not units:
            raise InputError("the rows hold nothing that can be scored: give whole groups")
        scores = [unit.score for unit in units if unit.score is not None]
        if len(scores) < len(units):
            raise InputError(f"no score: {self.lacks() or 'it cannot be computed here'}")
        return Scores([None] * len(rows), sum(scores) / len(scores))
