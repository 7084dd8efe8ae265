"""One table as csv (plain numbers), markdown and LaTeX (booktabs), each whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sparsemm.results.files import atomic_write

MISSING = "–"


class Cell(NamedTuple):
    """What a reader sees in one place of the table; `best` is set bold."""

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

    notes: sentences under the table, the same in both. labels: leading columns of words, set left.
    Raises InputError where the folder cannot be written.
    """
    texts = {
        "csv": csv_text(numbers),
        "md": markdown(head, rows, notes, labels),
        "tex": latex(head, rows, notes, labels),
    }
    for kind, text in texts.items():
        with atomic_write(f"{stem}.{kind}") as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")


def csv_text(numbers: pd.DataFrame) -> str:
    """Numbers with eight digits, empty where there is none."""
    return str(numbers.to_csv(index=False, float_format="%.8g", lineterminator="\n"))


def markdown(head: Sequence[str], rows: Sequence[Row], notes: Sequence[str], labels: int = 1) -> str:
    """A GitHub table; the first `labels` columns are left, numbers right."""
    lines = [_pipe(head), _pipe([":--" if index < labels else "--:" for index in range(len(head))])]
    for row in rows:
        lines.append(_pipe([_bold(cell, "**{}**").replace("|", r"\|") for cell in row]))
    return "\n".join([*lines, "", *notes]) + "\n"


def latex(head: Sequence[str], rows: Sequence[Row], notes: Sequence[str], labels: int = 1) -> str:
    """A tabular with booktabs rules, to be put into a table with its caption."""
    lines = [f"% {_tex(note)}" for note in notes]
    lines += [r"\begin{tabular}{" + "l" * labels + "r" * (len(head) - labels) + "}", r"\toprule"]
    lines += [_tex_row([_tex(name) for name in head]), r"\midrule"]
    for row in rows:
        lines.append(_tex_row([_tex_cell(cell) for cell in row]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def with_interval(score: float, low: float, high: float) -> str:
    """0.912 [0.890, 0.931]"""
    return f"{score:.3f} [{low:.3f}, {high:.3f}]"


def best_of(values: Sequence[float | None]) -> list[bool]:
    """Which of the values, rounded to the three digits shown, are the largest; None is never."""
    shown = [None if value is None else round(value, 3) for value in values]
    there = [value for value in shown if value is not None]
    return [value is not None and value == max(there) for value in shown]


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
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
