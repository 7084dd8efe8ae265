"""The matrix: the score of every allocator with every ranker."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.methods import METHODS, RANKERS, label_of
from sparsemm.reporting.matrix import COLUMNS, PUBLISHED, matrix_cells
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.summary import Paths, as_paths, read_predictions
from sparsemm.reporting.tables.writing import MISSING, Cell, Row, best_of, with_interval, write, write_not_run

_LABELS = ["model", "benchmark", "question", "budget", "allocator"]


def table_matrix(predictions: Paths, stem: str | Path, *, run_scores: Paths = (), scores: Paths = ()) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: allocators by rankers, a block a benchmark, question mode, budget.

    Scores have 95 % bootstrap intervals over samples, samples of an image drawn together; the best pair of a block is
    bold. The csv has a row a pair, with the difference from SparseMM and the tokens and bytes that the cache held.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.

    Raises:
        InputError: for a file that cannot be read.
    """
    files = as_paths(predictions)
    numbers = matrix_cells(read_predictions(files, run_scores)) if files else pd.DataFrame(columns=COLUMNS)
    rankers = [name for name in RANKERS if name in set(numbers["ranker"])]
    head = [*_LABELS, *(RANKERS[name].label for name in rankers)]
    if numbers.empty:
        notes = ["Fewer than two rankers were run; name pairs such as sparsemm@key_norm in `policies`."]
        write_not_run(stem, COLUMNS, [*_LABELS, "score"], notes, labels=5)
        return
    notes = [
        "Mean score with its 95 % bootstrap interval over images; bold: the best pair of the budget (tokens per KV "
        "head). The question is known when a prompt is compressed (aware) or not (agnostic; instructed: ranked by a "
        "generic instruction), then kept above the budget. "
        f"The paper's methods, {', '.join(map(label_of, PUBLISHED))}, rank by window attention.",
        *run_notes(files, run_scores=as_paths(run_scores), scores=scores),
    ]
    pairs = numbers[numbers["allocator"] != ""]
    rows: list[Row] = []
    for where, block in pairs.groupby(["model", "benchmark", "question", "budget"], sort=False):
        rows += _rows([str(each) for each in where], block, rankers)
    write(stem, numbers, head, rows, notes, labels=5)


def _rows(where: list[str], block: pd.DataFrame, rankers: list[str]) -> list[Row]:
    """The rows of one budget, an allocator each."""
    found = {(row["allocator"], row["ranker"]): row for row in block.to_dict("records")}
    best = dict(zip(found, best_of([row["score"] for row in found.values()])))
    rows: list[Row] = []
    for allocator in [name for name in METHODS if name in set(block["allocator"])]:
        cells: list[str | Cell] = [*where, label_of(allocator)]
        for ranker in rankers:
            row = found.get((allocator, ranker))
            text = MISSING if row is None else with_interval(row["score"], row["ci_low"], row["ci_high"])
            cells.append(Cell(text, best.get((allocator, ranker), False)))
        rows.append(cells)
    return rows
