"""Our numbers beside the paper's: which cells agree, differ, were not run, and how a table says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsemm.reporting.paper_values import paper_name
from sparsemm.reporting.summary import in_order
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN, Cell

# Status of a cell, beside NOT_RUN: the paper's value is inside our interval, or outside it; what was run has no score;
# the paper has no such cell.
AGREES, DIFFERS, NO_SCORE, OURS_ALONE = "agrees", "differs", "no score", "not in the paper"
MARK = "†"
BESIDE = (
    "In brackets: the paper's value (arXiv 2506.05344) and ours minus it; "
    f"{MARK}: the paper's value is outside our 95 % interval."
)


def beside(
    ours: pd.DataFrame, theirs: pd.DataFrame, keys: Sequence[str], value: str = "score"
) -> pd.DataFrame:
    """Every cell of this run and every cell of one of the paper's tables.

    Args:
        ours: rows with model, `keys`, `value`, ci_low and ci_high.
        theirs: rows with paper_model, `keys` and `paper_<value>`.
        keys: columns that, with the model, name a cell.
        value: column of the number that is compared.

    Returns:
        The rows of `ours` in their order, with the columns `paper_<value>`, difference (ours - theirs) and status
        added; then the cells that only the paper has, without a value of ours and with the status "not run".
    """
    paper = f"paper_{value}"
    theirs = theirs[["paper_model", *keys, paper]]
    named = ours.assign(paper_model=[paper_name(str(model)) for model in ours["model"]])
    # An empty frame's columns have no types to merge on.
    both = (
        named.assign(**{paper: []})
        if ours.empty
        else named.merge(theirs, on=["paper_model", *keys], how="left")
    )
    found = pd.MultiIndex.from_frame(named[["paper_model", *keys]])
    alone = theirs[~pd.MultiIndex.from_frame(theirs[["paper_model", *keys]]).isin(found)]
    our_name = dict(zip(named["paper_model"], named["model"]))
    alone = alone.assign(model=[our_name.get(name, name) for name in alone["paper_model"]])
    low, high, theirs_of = both["ci_low"], both["ci_high"], both[paper]
    status = pd.Series(DIFFERS, both.index, dtype=object)
    status[(low <= theirs_of) & (theirs_of <= high)] = AGREES
    status[both[value].isna()] = NO_SCORE
    status[theirs_of.isna()] = OURS_ALONE
    both = both.assign(difference=both[value] - theirs_of, status=status)
    parts = [part for part in (both, alone.assign(status=NOT_RUN)) if len(part)]
    joined = pd.concat(parts, ignore_index=True) if parts else both
    order = [name for name in both.columns if name != "paper_model"]
    return joined.reindex(columns=order)


def cell(row: Any, best: bool = False, *, value: str = "score", digits: int = 3) -> Cell:
    """A cell of a table as text: "0.671 [0.650, 0.690] (0.668, +0.003)", "not run", or the missing sign.

    Args:
        row: one row of a table's numbers; paper_<value>, difference and status may be missing.
        best: whether it is bold.
        value: column of the number.
        digits: after the point.
    """
    if row.get("status") == NOT_RUN:
        return Cell(NOT_RUN)
    if pd.isna(row[value]):
        return Cell(MISSING)
    text = f"{row[value]:.{digits}f} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"
    theirs = row.get(f"paper_{value}")
    if theirs is not None and not pd.isna(theirs):
        mark = MARK if row["status"] == DIFFERS else ""
        text += f" ({theirs:.{digits}f}, {row['difference']:+.{digits}f}{mark})"
    return Cell(text, best)


def extent(numbers: pd.DataFrame, theirs: pd.DataFrame, limit: int | None) -> list[str]:
    """What part of a table of the paper this run has, as a note; none where it has all of it.

    Args:
        numbers: rows from `beside`.
        theirs: the paper's rows that were given to it.
        limit: rows of each benchmark, where the run was a trial.
    """
    ran = numbers[numbers["status"].isin([AGREES, DIFFERS, NO_SCORE])]
    words, missing = [], list[str]()
    models = {paper_name(str(model)) for model in ran["model"]}
    for name, have, column in (
        ("models", models, "paper_model"),
        ("benchmarks", set(ran["benchmark"]), "benchmark"),
    ):
        known = in_order(theirs[column])
        words.append(f"{len(have)} of {len(known)} {name}")
        missing += [value for value in known if value not in have]
    cells = int((numbers["status"] == NOT_RUN).sum())
    if limit is None and not cells:
        return []
    if limit is not None:
        words.append(f"first {limit} rows")
    total = cells + len(ran)
    if cells:
        words.append(f"{len(ran)} of {total} cells")
    said = f"A part of the paper's table: {', '.join(words)}."
    return [said + (f" Not run: {', '.join(missing)}." if missing else "")]
