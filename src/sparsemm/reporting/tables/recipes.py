"""Score recipes compared: which predicts best what masking a head costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.reporting.notes import trial_note
from sparsemm.reporting.recipes import (
    COLUMNS,
    PAPERS,
    PARTS,
    effects,
    read_predictions_of_losses,
    recipe_rows,
)
from sparsemm.reporting.summary import Paths, as_paths
from sparsemm.reporting.tables.writing import Cell, Row, best_of, with_interval, write, write_not_run

_HEAD = ["model", *PARTS, "rank correlation", "gain over the paper's"]


def table_recipes(recipes: Paths, losses: Paths, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: rank correlation of every recipe's scores with the loss of masked heads.

    Args:
        recipes: files of kind recipes, named <model>.parquet.
        losses: files of kind head_losses, named as these.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    if not as_paths(recipes):
        write_not_run(stem, COLUMNS, _HEAD, ["No recipes were compared; `recipes` asks for it."], labels=5)
        return
    found = read_predictions_of_losses(recipes, losses)
    numbers, choices = recipe_rows(found), effects(found)
    rows: list[Row] = []
    for model, own in numbers.groupby("model", sort=False):
        ordered = own.sort_values("value", ascending=False, kind="stable")
        best = best_of(list(ordered["value"]))
        for row, top in zip(ordered.to_dict("records"), best):
            papers = tuple(row[part] for part in PARTS) == PAPERS
            gain = "the paper's" if papers else with_interval(row["gain"], row["gain_low"], row["gain_high"])
            value = Cell(with_interval(row["value"], row["low"], row["high"]), top)
            rows.append([str(model), *(str(row[part]) for part in PARTS), value, gain])
    notes = [
        "Rank correlation, over masked groups of heads, of the sum of their scores and how much less likely the "
        "model's own answers become, with 95 % bootstrap intervals over images; bold: the best. Not corrected for "
        "the number of recipes.",
        *(_choice(row) for row in choices.to_dict("records")),
        *trial_note(recipes),
    ]
    write(stem, pd.DataFrame(numbers), _HEAD, rows, notes, labels=5)


def _choice(row: dict[str, float]) -> str:
    effect = with_interval(row["effect"], row["low"], row["high"])
    return f"{row['model']}, mean effect of a choice over the others: {row['choice']} {effect}."
