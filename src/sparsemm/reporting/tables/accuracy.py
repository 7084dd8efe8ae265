"""Tables 5 and 6: the score of every method at every budget, beside the paper's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.methods import label_of, method_order
from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import limit_of, run_notes
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    main_cells,
    panels,
    part,
    read_predictions,
    summarise,
)
from sparsemm.reporting.tables.beside import BESIDE, beside, cell, extent
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN, Cell, Row, best_of, write, write_not_run

_COLUMNS = ["model", "benchmark", "metric", "policy", "budget", "samples", "score", "ci_low", "ci_high"]
_LABELS = ["model", "benchmark", "method"]


def table5(
    predictions: Paths,
    stem: str | Path,
    *,
    run_scores: Paths = (),
    scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: score of every method at every budget on every benchmark but table 6's.

    Scores have 95 % bootstrap intervals over samples; the best method of a benchmark and budget is bold. The csv has
    one row per cell, with the tokens and bytes that the cache held. With one of the paper's models in the run, the
    paper's scores stand beside them.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.
        paper: data/paper/accuracy.csv.

    Raises:
        InputError: for a file that cannot be read.
    """
    _table(5, predictions, stem, run_scores, scores, paper)


def table6(
    predictions: Paths,
    stem: str | Path,
    *,
    run_scores: Paths = (),
    scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: as `table5`, of the benchmarks in `TABLE6`; arguments as there."""
    _table(6, predictions, stem, run_scores, scores, paper)


def of_table(number: int, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the benchmarks of table 5 or 6 (those in `TABLE6`)."""
    return frame[frame["benchmark"].isin(paper_values.TABLE6) == (number == 6)]


def paper_table(number: int, paper: str | Path) -> pd.DataFrame:
    """The paper's rows of table 5 or 6, from data/paper/accuracy.csv."""
    return of_table(number, paper_values.accuracy(paper))


def _table(
    number: int,
    predictions: Paths,
    stem: str | Path,
    run_scores: Paths,
    scores: Paths,
    paper: str | Path | None,
) -> None:
    files = as_paths(predictions)
    mine = [p for p in files if (p.parent.name in paper_values.TABLE6) == (number == 6)]
    if not mine:
        notes = [f"No benchmark of table {number} was run."]
        write_not_run(stem, _COLUMNS, [*_LABELS, "score"], notes, labels=3)
        return
    units = [path for path in as_paths(run_scores) if (path.stem in paper_values.TABLE6) == (number == 6)]
    numbers = main_cells(summarise(read_predictions(mine, units)))
    notes = [
        "Mean score with its 95 % bootstrap interval over samples; bold: the best compressed method at that "
        "budget (tokens per KV head). FullKV keeps every token and is the same at every budget.",
        *run_notes(mine, run_scores=units, scores=scores),
    ]
    if paper is not None and numbers["model"].map(paper_values.in_paper).any():
        theirs = paper_table(number, paper)
        numbers = beside(numbers, theirs, ["benchmark", "policy", "budget"])
        notes += [BESIDE, *extent(numbers, theirs, limit_of(mine))]
    budgets = sorted(set(numbers["budget"]) - {0})
    rows = [row for panel in panels(numbers) for row in _rows(part(numbers, *panel), budgets)]
    write(stem, numbers, [*_LABELS, *map(str, budgets)], rows, notes, labels=3)


def _rows(own: pd.DataFrame, budgets: list[int]) -> list[Row]:
    """The rows of one model on one benchmark; one row where nothing of it was run."""
    model, benchmark = own["model"].iloc[0], own["benchmark"].iloc[0]
    if "status" in own and (own["status"] == NOT_RUN).all():
        return [[model, benchmark, "all", *[NOT_RUN] * len(budgets)]]
    found = {(row["policy"], row["budget"]): row for row in own.to_dict("records")}
    where = [model, f"{benchmark} ({own['metric'].dropna().iloc[0]})"]
    rows: list[Row] = []
    if full := found.get(("fullkv", 0)):
        rows.append([*where, label_of("fullkv"), *[cell(full)] * len(budgets)])
    methods = [label for label in method_order(own["policy"]) if label != "fullkv"]
    at = {budget: [found.get((label, budget)) for label in methods] for budget in budgets}
    best = {
        budget: best_of([None if row is None else row["score"] for row in at[budget]]) for budget in budgets
    }
    for index, label in enumerate(methods):
        shown = [_shown(at[budget][index], best[budget][index]) for budget in budgets]
        rows.append([*where, label_of(label), *shown])
    return rows


def _shown(row: dict[str, object] | None, best: bool) -> Cell:
    return Cell(MISSING) if row is None else cell(row, best)
