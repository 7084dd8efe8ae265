"""The scores of this run beside those of the paper, one row a cell, for models and benchmarks that both have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.methods import label_of
from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.summary import Paths, as_paths, main_cells, read_predictions, summarise
from sparsemm.reporting.tables.beside import DIFFERS, MARK, OURS_ALONE, beside
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN, Row, with_interval, write, write_not_run

_CELL = ["model", "benchmark", "metric", "policy", "budget", "samples"]
_SCORES = {"score": "our_score", "ci_low": "our_ci_low", "ci_high": "our_ci_high"}
_HEAD = ["model", "benchmark", "method", "budget", "ours", "paper", "ours - paper"]


def comparison(
    predictions: Paths, paper: str | Path, stem: str | Path, *, run_scores: Paths = (), scores: Paths = ()
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: our score with its interval, the paper's, and their difference.

    Without one of the paper's models in the run, the table has no rows and a note says so.

    Args:
        predictions: files of kind predictions.
        paper: data/paper/accuracy.csv, the numbers of the paper's tables 5 and 6.
        stem: path of the table without its suffix.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.

    Raises:
        InputError: for a file that cannot be read, and for a paper file that lacks a column.
    """
    columns = [*_CELL, *_SCORES.values(), "paper_score", "difference"]
    if not as_paths(predictions):
        write_not_run(stem, columns, _HEAD, ["No benchmark was run."], labels=3)
        return
    ours = main_cells(summarise(read_predictions(predictions, run_scores)))
    both = beside(ours, paper_values.accuracy(paper), ["benchmark", "policy", "budget"])
    both = both[~both["status"].isin([NOT_RUN, OURS_ALONE])]
    numbers = both.rename(columns=_SCORES).astype({"budget": int})
    rows: list[Row] = [_row(row) for row in numbers.to_dict("records")]
    notes = [
        "Ours: this run, with 95 % bootstrap intervals. Paper: arXiv 2506.05344, tables 5 and 6; "
        f"{MARK}: outside our interval.",
        *run_notes(predictions, run_scores=run_scores, scores=scores),
    ]
    if rows:
        columns.append("status")
    else:
        notes = ["No model and benchmark of this run is in the paper: there is nothing to compare."]
    write(stem, numbers[columns], _HEAD, rows, notes, labels=3)


def _row(row: dict[str, Any]) -> list[str]:
    apart = MISSING if pd.isna(row["difference"]) else f"{row['difference']:+.3f}"
    return [
        row["model"],
        row["benchmark"],
        label_of(row["policy"]),
        str(row["budget"]),
        with_interval(row["our_score"], row["our_ci_low"], row["our_ci_high"]),
        f"{row['paper_score']:.3f}",
        apart + (MARK if row["status"] == DIFFERS else ""),
    ]
