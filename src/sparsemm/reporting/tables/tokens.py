"""Table 1: input tokens per model and benchmark, counted, beside the paper's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import limit_of, run_notes
from sparsemm.reporting.summary import Paths, as_paths, in_order, panels, part, read_predictions
from sparsemm.reporting.tables.beside import BESIDE, beside, cell, extent
from sparsemm.reporting.tables.writing import MISSING, Row, write, write_not_run
from sparsemm.stats import bootstrap_interval

_COLUMNS = ["model", "benchmark", "samples", "mean_input_tokens", "min_input_tokens", "max_input_tokens"]


def table1(predictions: Paths, stem: str | Path, *, paper: str | Path | None = None) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: mean input tokens (image and text) per model and benchmark.

    The csv has the number of samples and the mean, least and most input tokens; with one of the paper's models in the
    run also the paper's mean, the difference and the interval of ours over images.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        paper: data/paper/table1_input_tokens.csv.

    Raises:
        InputError: for a file that cannot be read.
    """
    if not as_paths(predictions):
        write_not_run(stem, _COLUMNS, ["model", "input tokens"], ["No benchmark was run."])
        return
    frame = read_predictions(predictions)
    numbers = count_tokens(frame)
    notes = ["Mean tokens of a prompt, image tokens included.", *run_notes(predictions)]
    value = "mean_input_tokens"
    if paper is not None and numbers["model"].map(paper_values.in_paper).any():
        theirs = paper_values.input_tokens(paper)
        numbers = tokens_beside(frame, theirs)
        notes += [BESIDE, *extent(numbers, theirs, limit_of(predictions))]
    benchmarks = in_order(numbers["benchmark"])
    found = {(row["model"], row["benchmark"]): row for row in numbers.to_dict("records")}
    rows: list[Row] = []
    for model in in_order(numbers["model"]):
        own = [found.get((model, name)) for name in benchmarks]
        if "status" in numbers:
            rows.append(
                [model, *(MISSING if row is None else cell(row, value=value, digits=0) for row in own)]
            )
        else:
            rows.append([model, *(MISSING if row is None else f"{row[value]:.0f}" for row in own)])
    write(stem, numbers, ["model", *benchmarks], rows, notes)


def count_tokens(frame: pd.DataFrame) -> pd.DataFrame:
    """Samples and mean, least and most prompt tokens of every model and benchmark of `read_predictions`."""
    frame = frame.drop_duplicates(["model", "benchmark", "sample_id"])
    records = []
    for model, benchmark in panels(frame):
        tokens = part(frame, model, benchmark)["prompt_tokens"]
        records.append((model, benchmark, len(tokens), tokens.mean(), tokens.min(), tokens.max()))
    return pd.DataFrame(records, columns=_COLUMNS)


def tokens_beside(frame: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """`count_tokens` with the interval of the mean, beside the paper's rows from `paper_values.input_tokens`."""
    numbers = count_tokens(frame)
    frame = frame.drop_duplicates(["model", "benchmark", "sample_id"])
    bounds = []
    for model, benchmark in zip(numbers["model"], numbers["benchmark"]):
        own = part(frame, model, benchmark)
        bounds.append(bootstrap_interval(own["prompt_tokens"], clusters=list(own["image_id"])))
    numbers[["ci_low", "ci_high"]] = bounds
    return beside(numbers, theirs, ["benchmark"], "mean_input_tokens")
