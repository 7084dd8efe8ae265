"""Task texts and scores of a benchmark's rows, given as the data set's own columns. All scoring goes through here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from sparsemm.benchmarks.base import Benchmark, Row
from sparsemm.benchmarks.metric import Metric
from sparsemm.benchmarks.registry import get_benchmark
from sparsemm.errors import InputError


def score_rows(
    name: str | Benchmark, rows: Sequence[Row], predictions: Sequence[str], *, rules: str = "paper"
) -> tuple[list[float | None], float]:
    """Score the answers to a benchmark's rows.

    Args:
        name: the benchmark, or its name.
        rows: the data set's own columns; no image is needed.
        predictions: the answer to every row; stripped of surrounding white space before it is scored.
        rules: the rule set, "paper" or "current".

    Returns:
        A score for every row, None where only a group of rows or the whole run has one, and the aggregate as the rule
        set reports it: 0 to 1, CIDEr 0 to 10.

    Raises:
        InputError: for an unknown benchmark or rule set, no rows, another number of predictions than of rows, a row
            that lacks a column or answers, or a metric that cannot be computed here (CIDEr without Java).
    """
    benchmark = get_benchmark(name) if isinstance(name, str) else name
    if len(rows) != len(predictions) or not rows:
        raise InputError(
            f"benchmarks.{benchmark.name}: {len(predictions)} predictions for {len(rows)} rows; "
            "give one for every row, at least one"
        )
    metric = rule_set(benchmark, rules)
    with _named(benchmark):
        scores = metric(rows, [text.strip() for text in predictions])
    return scores.rows, scores.total


def task_text(name: str | Benchmark, row: Row, *, rules: str = "paper") -> str:
    """The text that the model is asked about a row, before the chat format.

    Args:
        name: the benchmark, or its name.
        row: the data set's own columns; no image is needed.
        rules: the rule set, "paper" or "current".

    Raises:
        InputError: for an unknown benchmark or rule set, or a row that lacks a column.
    """
    benchmark = get_benchmark(name) if isinstance(name, str) else name
    rule_set(benchmark, rules)
    with _named(benchmark):
        return benchmark.prompt(row, rules=rules)


def rule_set(benchmark: Benchmark, rules: str) -> Metric:
    """The benchmark's metric under a rule set.

    Raises:
        InputError: for a rule set that the benchmark does not have.
    """
    known = benchmark.rules
    if rules not in known:
        raise InputError(
            f"benchmarks.{benchmark.name}: unknown rule set {rules!r}; use one of {', '.join(known)}"
        )
    return known[rules]


@contextlib.contextmanager
def _named(benchmark: Benchmark) -> Iterator[None]:
    """Errors about rows name the benchmark."""
    try:
        yield
    except KeyError as error:
        raise InputError(
            f"benchmarks.{benchmark.name}: a row lacks the column {error}; give the data set's own columns"
        ) from error
    except InputError as error:
        raise InputError(f"benchmarks.{benchmark.name}: {error}") from error
