"""The scores of this run beside those of the paper, for models and benchmarks that both have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import label_of
from sparsemm.reporting.summary import Paths, main_cells, read_predictions, summarise
from sparsemm.reporting.tables.writing import Row, with_interval, write

# Names in data/paper/accuracy.csv that differ from ours: our model -> theirs, their method -> ours.
_PAPER_MODELS = {"qwen2-vl-7b": "qwen2-vl-7b-instruct"}
_OUR_METHODS = {"random": "random_heads"}


def comparison(predictions: Paths, paper: str | Path, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: our score with its interval, the paper's, and their difference.

    Without one of the paper's models in the run, the table has no rows and a note says so.

    Args:
        predictions: files of kind predictions.
        paper: data/paper/accuracy.csv, the numbers of the paper's tables 5 and 6.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read, and for a paper file that lacks a column.
    """
    ours = main_cells(summarise(read_predictions(predictions)))
    ours = ours.assign(paper_model=ours["model"].replace(_PAPER_MODELS))
    theirs = _paper(Path(paper))
    keys = ["paper_model", "benchmark", "policy", "budget"]
    both = ours.merge(theirs, on=keys, how="inner")
    numbers = pd.DataFrame(
        {
            **{key: both[key] for key in ("model", "benchmark", "metric", "policy", "budget", "samples")},
            "our_score": both["score"],
            "our_ci_low": both["ci_low"],
            "our_ci_high": both["ci_high"],
            "paper_score": both["paper_score"],
            "difference": both["score"] - both["paper_score"],
        }
    )
    rows: list[Row] = [
        [
            str(row.model),
            str(row.benchmark),
            label_of(str(row.policy)),
            str(row.budget),
            with_interval(row.our_score, row.our_ci_low, row.our_ci_high),
            f"{row.paper_score:.3f}",
            f"{row.difference:+.3f}",
        ]
        for row in numbers.itertuples()
    ]
    notes = ["Ours: this run, with 95 % bootstrap intervals. Paper: arXiv 2506.05344, tables 5 and 6."]
    if not rows:
        notes = ["No model and benchmark of this run is in the paper: there is nothing to compare."]
    head = ["model", "benchmark", "method", "budget", "ours", "paper", "ours - paper"]
    write(stem, numbers, head, rows, notes, labels=3)


def _paper(path: Path) -> pd.DataFrame:
    columns = {"model": "paper_model", "method": "policy", "score": "paper_score"}
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: the paper's numbers cannot be read ({reason}); restore the file"
        ) from error
    missing = [name for name in (*columns, "benchmark", "budget") if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing; restore the file")
    frame = frame.rename(columns=columns)[[*columns.values(), "benchmark", "budget"]]
    return frame.assign(policy=frame["policy"].replace(_OUR_METHODS))
