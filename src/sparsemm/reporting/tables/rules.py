"""Every cell scored by both rule sets, `paper` (the authors' code) and `current` (today's lmms-eval)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.methods import label_of, method_order
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.summary import Paths, as_paths, panels, part, read_predictions
from sparsemm.reporting.tables.writing import MISSING, Row, write, write_not_run

_CELL = ["model", "benchmark", "metric", "policy", "budget"]
_COLUMNS = [*_CELL, "samples", "samples_changed", "score_paper", "score_current", "difference"]
_HEAD = [
    "model",
    "benchmark",
    "method",
    "budget",
    "by paper",
    "by current",
    "current - paper",
    "samples changed",
]


def rules(predictions: Paths, stem: str | Path, *, run_scores: Paths = ()) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: mean score of every cell by the rule sets, and their difference.

    The answers are the same: only how they are scored differs.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        run_scores: files of kind run_scores.

    Raises:
        InputError: for a file that cannot be read.
    """
    if not as_paths(predictions):
        write_not_run(stem, _COLUMNS, _HEAD, ["No benchmark was run."], labels=3)
        return
    frame = read_predictions(predictions, run_scores)
    numbers = by_both(frame)
    rows: list[Row] = []
    for row in numbers.to_dict("records"):
        shown = [
            MISSING if pd.isna(row[name]) else form.format(row[name])
            for name, form in (
                ("score_paper", "{:.3f}"),
                ("score_current", "{:.3f}"),
                ("difference", "{:+.3f}"),
            )
        ]
        changed = f"{row['samples_changed']} of {row['samples']}" if row["samples"] else MISSING
        where = [row["model"], row["benchmark"], label_of(row["policy"]), str(row["budget"])]
        rows.append([*where, *shown, changed])
    notes = ["The same answers, scored by the authors' rules (paper) and by today's lmms-eval (current)."]
    if numbers["score_paper"].isna().all() or numbers["score_current"].isna().all():
        notes = ["No benchmark of this run has scores by both rule sets: there is nothing to compare."]
    notes += run_notes(predictions, run_scores=run_scores)
    write(stem, numbers, _HEAD, rows, notes, labels=3)


def by_both(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a cell of `read_predictions`: samples that both rule sets score, how many differ, and the means."""
    frame = frame.assign(
        difference=frame["score_current"] - frame["score_paper"],
        scored=frame["score_current"].notna() & frame["score_paper"].notna(),
    )
    frame["changed"] = frame["difference"].abs() > 1e-9
    found = []
    for model, benchmark in panels(frame):
        groups = part(frame, model, benchmark).groupby(_CELL, sort=False)
        cells = groups[["score_paper", "score_current", "difference"]].mean()
        cells["samples"], cells["samples_changed"] = groups["scored"].sum(), groups["changed"].sum()
        cells = cells.reset_index()
        rank = {label: index for index, label in enumerate(method_order(cells["policy"]))}
        found.append(
            cells.sort_values(["policy", "budget"], key=lambda c: c.map(rank) if c.name == "policy" else c)
        )
    return pd.concat(found, ignore_index=True)[_COLUMNS]
