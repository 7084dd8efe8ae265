"""The two kinds of metric: one that scores a row by itself, one that needs the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Scores(NamedTuple):
    """Scores of one run: a value for every row, None where a single row has none, and the run's own value."""

    rows: list[float | None]
    total: float


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
    """A metric of single rows, in [0, 1]; the run's value is their mean."""

    score: Callable[[Mapping[str, Any], str], float]
    top: float = field(default=1.0, init=False)
    by_row: bool = field(default=True, init=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scores:
        """Score every row and take the mean."""
        each = [float(self.score(row, text)) for row, text in zip(rows, predictions, strict=True)]
        return Scores([*each], sum(each) / len(each))


@dataclass(frozen=True)
class RunMetric:
    """A metric of a whole run: CIDEr over a corpus, MMBench over groups of rotated questions.

    Args:
        score: takes all rows and predictions; a row without a score of its own gets None.
        top: the best possible value (CIDEr: 10).
    """

    score: Callable[[Sequence[Mapping[str, Any]], Sequence[str]], tuple[list[float | None], float]]
    top: float = 1.0
    by_row: bool = field(default=False, init=False)

    def __call__(self, rows: Sequence[Mapping[str, Any]], predictions: Sequence[str]) -> Scores:
        """Score the run."""
        return Scores(*self.score(rows, predictions))
