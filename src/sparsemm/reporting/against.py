"""Two runs compared, file by file, and the tables of a run against the result files that they were made from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sparsemm.errors import InputError
from sparsemm.reporting.summary import read_predictions, summarise
from sparsemm.reporting.tables.accuracy import table5, table6
from sparsemm.results.parquet import read_metadata, read_table
from sparsemm.results.verify import Fault, result_files

BYTES, VALUES, PART, CLOSE, MEASURED, OTHER, MISSING = (
    "same bytes",
    "same values",
    "same values as far as one goes",
    "within intervals",
    "measured anew",
    "differs",
    "missing",
)
_TIMED = ("efficiency", "profile")


class Agreement(NamedTuple):
    """How a result file of a run agrees with the other run's.

    Attributes:
        file: relative to the run's folder.
        how: one of BYTES, VALUES, PART (of a probe set one run has the first pages only, as a reference run does),
            CLOSE (every cell's mean inside the other's 95 % interval), MEASURED (times and memory are never the same),
            OTHER, and MISSING (from either run).
        detail: where and how much they differ.
    """

    file: str
    how: str
    detail: str


def compare_runs(folder: str | Path, other: str | Path) -> list[Agreement]:
    """Every result file of either run.

    Raises:
        InputError: for a folder without result files, or a file that cannot be read.
    """
    mine, theirs = ({p.relative_to(f).as_posix(): p for p in result_files(f)} for f in (folder, other))
    found = []
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs:
            lacking = folder if name not in mine else other
            found.append(Agreement(name, MISSING, f"not in {lacking}"))
        else:
            found.append(Agreement(name, *_compare(mine[name], theirs[name])))
    return found


def _compare(mine: Path, theirs: Path) -> tuple[str, str]:
    if mine.read_bytes() == theirs.read_bytes():
        return BYTES, ""
    kind = read_metadata(mine)["kind"]
    a, b = read_table(mine), read_table(theirs)
    if kind != read_metadata(theirs)["kind"]:
        return OTHER, "another kind of result"
    if a.equals(b):
        return VALUES, ""
    if kind in _TIMED:
        return MEASURED, ""
    if kind == "predictions":
        return _cells(mine, theirs)
    rows = min(len(a), len(b))
    if kind == "probe" and rows < max(len(a), len(b)) and a[:rows].equals(b[:rows]):
        return PART, f"the first {rows} of {max(len(a), len(b))} pages"
    if len(a) != len(b):
        return OTHER, f"{len(a)} rows against {len(b)}"
    parts = [name for name in a.columns if not a[name].equals(b[name])]
    return OTHER, f"columns {', '.join(parts)}; {_largest(a, b, parts)}"


def _largest(a: pd.DataFrame, b: pd.DataFrame, columns: list[str]) -> str:
    numbers = [name for name in columns if pd.api.types.is_numeric_dtype(a[name])]
    if not numbers:
        return "texts"
    most = max(float(np.nanmax(np.abs(a[name] - b[name]))) for name in numbers)
    return f"at most {most:.3g}"


def _cells(mine: Path, theirs: Path) -> tuple[str, str]:
    """Means of cells against the other run's intervals."""
    keys = ["policy", "budget"]
    a, b = (summarise(read_predictions([path])).set_index(keys) for path in (mine, theirs))
    both = a.index.intersection(b.index)
    if len(both) < max(len(a), len(b)):
        return OTHER, f"{len(a)} cells against {len(b)}"
    a, b = a.loc[both], b.loc[both]
    outside = (a["score"] < b["ci_low"]) | (a["score"] > b["ci_high"])
    apart = (a["score"] - b["score"]).abs()
    most = f"the largest difference is {apart.max():.3g}"
    if outside.any():
        policy, budget = apart[outside].idxmax()
        return (
            OTHER,
            f"{int(outside.sum())} of {len(both)} cells outside, {policy} at {budget} for one; {most}",
        )
    return CLOSE, most


def verify_tables(folder: str | Path) -> list[Fault]:
    """Faults of tables 5 and 6 of a run: numbers that are not those of its result files, or no longer.

    Raises:
        InputError: for a result file that cannot be read.
    """
    base = Path(folder)
    files = [p for p in result_files(base) if p.relative_to(base).parts[0] in ("predictions", "run_scores")]
    given = {kind: [p for p in files if kind in p.parts] for kind in ("predictions", "run_scores")}
    faults = []
    for name, make in (("table5", table5), ("table6", table6)):
        shown = base / "paper" / f"{name}.csv"
        if not shown.is_file() or not given["predictions"]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            make(given["predictions"], Path(scratch) / name, run_scores=given["run_scores"])
            again = pd.read_csv(Path(scratch) / f"{name}.csv")
        if (text := _unlike(shown, again)) is not None:
            faults.append(Fault(f"paper/{name}.csv", f"{text}; make the figures again"))
    return faults


def _unlike(shown: Path, again: pd.DataFrame) -> str | None:
    """Where a table differs from what its result files say; columns of the paper's numbers are not looked at."""
    try:
        found = pd.read_csv(shown)
    except (ValueError, OSError) as error:
        raise InputError(f"{shown}: no csv file; make the figures again") from error
    if "status" in again.columns:  # nothing of this table was run
        return None if "status" in found.columns else "has scores of benchmarks that have no predictions"
    keys = ["model", "benchmark", "policy", "budget"]
    if not {*keys, "score"} <= {*found.columns}:
        return "lacks columns"
    joined = again.merge(found, on=keys, how="left", suffixes=("", "_shown"))
    wrong = (joined["score"] - joined["score_shown"]).abs() > 1e-6
    wrong |= joined["score_shown"].isna() & joined["score"].notna()
    if not wrong.any():
        return None
    row = joined[wrong].iloc[0]
    return f"{int(wrong.sum())} scores are not those of the predictions: {row.policy} at {row.budget} for one"
