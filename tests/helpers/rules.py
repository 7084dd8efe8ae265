"""Tables of cases under both rule sets: prediction, row, score by `paper`, score by `current`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from sparsemm.benchmarks import score_rows


class Case(NamedTuple):
    """One prediction about one row, and its score by each rule set."""

    prediction: str
    row: Mapping[str, Any]
    paper: float
    current: float


def check(benchmark: str, case: Case) -> None:
    """The row's score is the expected one, by each rule set, and the row is left as it was."""
    before = repr(case.row)
    for rules, wanted in (("paper", case.paper), ("current", case.current)):
        (score,), _ = score_rows(benchmark, [case.row], [case.prediction], rules=rules)
        assert score == pytest.approx(wanted, abs=1e-12), rules
    assert repr(case.row) == before


def same(prediction: str, row: Mapping[str, Any], score: float) -> Case:
    """A case on which the rule sets agree."""
    return Case(prediction, row, score, score)
