"""Writes one table as csv (plain numbers), markdown and LaTeX (booktabs), each file atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sparsemm.results.files import atomic_write

MISSING = "–"
NOT_RUN = "not run"


class Cell(NamedTuple):
    """The text of one table cell; `best` makes it bold."""

    text: str
    best: bool = False


Row = Sequence[str | Cell]


def write(
    stem: str | Path,
    numbers: pd.DataFrame,
    head: Sequence[str],
    rows: Sequence[Row],
    notes: Sequence[str],
    *,
    labels: int = 1,
) -> None:
    """Write `<stem>.csv` from `numbers`, `<stem>.md` and `<stem>.tex` from `head` and `rows`.

    Args:
        stem: path of the files without their suffix.
        numbers: the csv's columns.
        head: names of the shown columns.
        rows: shown cells, row by row.
        notes: sentences that go with the table, the same in both formats.
        labels: number of leading columns that hold words and are left-aligned.

    Raises:
        InputError: where the folder cannot be written.
    """
    texts = {
        "csv": csv_text(numbers),
        "md": markdown(head, rows, notes, labels),
        "tex": latex(head, rows, notes, labels),
    }
    for kind, text in texts.items():
        with atomic_write(f"{stem}.{kind}") as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")


def write_not_run(
    stem: str | Path, columns: Sequence[str], head: Sequence[str], notes: Sequence[str], *, labels: int = 1
) -> None:
    """Write a table of which nothing has been run: one row that says so, in the csv's column `status`, no number."""
    names = [*columns, *(["status"] if "status" not in columns else [])]
    numbers = pd.DataFrame([{"status": NOT_RUN}], columns=names)
    write(stem, numbers, head, [[NOT_RUN, *[""] * (len(head) - 1)]], notes, labels=labels)


def csv_text(numbers: pd.DataFrame) -> str:
    """The csv: numbers with eight significant digits, empty where a value is missing."""
    return str(numbers.to_csv(index=False, float_format="%.8g", lineterminator="\n"))


def markdown(head: Sequence[str], rows: Sequence[Row], notes: Sequence[str], labels: int = 1) -> str:
    """A GitHub table with the notes below it; the first `labels` columns are left-aligned, the others right-aligned."""
    lines = [_pipe(head), _pipe([":--" if index < labels else "--:" for index in range(len(head))])]
    for row in rows:
        lines.append(_pipe([_bold(cell, "**{}**").replace("|", r"\|") for cell in row]))
    return "\n".join([*lines, "", *notes]) + "\n"


def latex(head: Sequence[str], rows: Sequence[Row], notes: Sequence[str], labels: int = 1) -> str:
    """A tabular with booktabs rules, for a table environment; the notes are comments above it."""
    lines = [f"% {_tex(note)}" for note in notes]
    lines += [r"\begin{tabular}{" + "l" * labels + "r" * (len(head) - labels) + "}", r"\toprule"]
    lines += [_tex_row([_tex(name) for name in head]), r"\midrule"]
    for row in rows:
        lines.append(_tex_row([_tex_cell(cell) for cell in row]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def with_interval(score: float, low: float, high: float) -> str:
    """A score and its interval as text: "0.912 [0.890, 0.931]"; the missing sign where there is no score."""
    if pd.isna(score):
        return MISSING
    return f"{score:.3f} [{low:.3f}, {high:.3f}]"


def best_of(values: Sequence[float | None]) -> list[bool]:
    """Which of the values are the largest when rounded to the three digits shown; None and NaN never are."""
    shown = [None if value is None or pd.isna(value) else round(value, 3) for value in values]
    present = [value for value in shown if value is not None]
    return [value is not None and value == max(present) for value in shown]


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _bold(cell: str | Cell, form: str) -> str:
    if isinstance(cell, Cell):
        return form.format(cell.text) if cell.best else cell.text
    return cell


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_cell(cell: str | Cell) -> str:
    text = _tex(cell.text if isinstance(cell, Cell) else cell)
    return rf"\textbf{{{text}}}" if isinstance(cell, Cell) and cell.best else text


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "†": r"\dag{}",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
