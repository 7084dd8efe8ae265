"""Table 2: scores at one budget and decode latency, beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import label_of, method_order
from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import limit_of, run_notes
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    in_order,
    main_cells,
    read_efficiency,
    read_predictions,
    summarise,
)
from sparsemm.reporting.tables.beside import BESIDE, beside, cell, extent
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN, Cell, Row, write, write_not_run

_COLUMNS = ["model", "policy", "budget", "benchmark", "metric", "score", "ci_low", "ci_high"]
_LATENCY = "decode_ms_per_token"


def table2(
    predictions: Paths,
    efficiency: Paths,
    stem: str | Path,
    *,
    budget: int | None = None,
    tokens: int | None = None,
    run_scores: Paths = (),
    scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: score per benchmark at one budget, and decode latency, per method.

    The latency is the median over repeats. It is measured at other prompt lengths than the benchmarks' and so has a
    budget of its own, which the notes name. With one of the paper's models in the run, the paper's values stand
    beside ours.

    Args:
        predictions: files of kind predictions.
        efficiency: files of kind efficiency.
        stem: path of the table without its suffix.
        budget: of the scores; None for the paper's where one of its models was run at it, else the middle one (the
            lower of two) of the first benchmark.
        tokens: input length of the latency; None for the paper's where one of its models was measured at it, else the
            longest measured.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.
        paper: data/paper/table2_accuracy_speed.csv.

    Raises:
        InputError: for a file that cannot be read, and for a budget or length that is in none.
    """
    if not as_paths(predictions):
        head = ["model", "method", "score", "decode (ms/token)"]
        write_not_run(stem, [*_COLUMNS, _LATENCY], head, ["No benchmark was run."], labels=2)
        return
    cells = main_cells(summarise(read_predictions(predictions, run_scores)))
    times = read_efficiency(efficiency)
    known = paper is not None and cells["model"].map(paper_values.in_paper).any()
    budget = _budget(cells, known) if budget is None else budget
    cells = cells[(cells["budget"] == budget) | (cells["policy"] == "fullkv")]
    if not (cells["budget"] > 0).any():
        raise InputError(f"table 2: budget {budget} is in no predictions; choose one that was evaluated")
    tokens = _tokens(times, known) if tokens is None else tokens
    times = times[times["input_tokens"] == tokens]
    if times.empty:
        raise InputError(
            f"table 2: {tokens} input tokens are in no efficiency file; choose a measured length"
        )
    asked = ", ".join(str(value) for value in sorted(set(times["budget"]) - {0})) or "none"
    notes = [
        f"Scores at a budget of {budget} tokens per KV head; bold: the best compressed method.",
        f"Decode: median ms per token at {tokens} input tokens and a budget of {asked} on "
        f"{', '.join(in_order(times['device']))}.",
        *run_notes(predictions, run_scores=run_scores, scores=scores),
    ]
    latency = times.groupby(["model", "policy"])[_LATENCY].median()
    numbers = _with_latency(_in_order(cells[_COLUMNS]), latency, tokens)
    of_time: dict[tuple[str, str], dict[str, Any]] = {}
    if known and paper is not None:
        theirs, _ = paper_values.accuracy_speed(paper)
        if budget != paper_values.LATENCY_BUDGET:
            theirs = theirs[theirs["policy"] == "fullkv"]
        numbers = _with_latency(_in_order(scores_beside(cells[_COLUMNS], theirs)), latency, tokens)
        at_paper = latency_beside(times, paper)
        of_time = {(row["model"], row["policy"]): row for row in at_paper.to_dict("records")}
        columns = {"paper_" + _LATENCY: "paper_" + _LATENCY, "difference": "decode_difference"}
        columns |= {"status": "decode_status"}
        for ours, name in columns.items():
            keys = zip(numbers["model"], numbers["policy"])
            numbers[name] = [of_time.get(key, {}).get(ours) for key in keys]
        notes += [BESIDE + " The paper's scores in this table have two digits.", *_notes_of_latency(tokens)]
        notes += extent(numbers, theirs, limit_of(predictions))
    benchmarks = in_order(numbers["benchmark"])
    rows = _rows(numbers, benchmarks, of_time, detailed=known)
    write(stem, numbers, ["model", "method", *benchmarks, "decode (ms/token)"], rows, notes, labels=2)


def scores_beside(cells: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Cells of the full cache and of the paper's budget beside the paper's scores of table 2."""
    numbers = beside(cells, theirs, ["policy", "benchmark"])
    asked = [0 if policy == "fullkv" else paper_values.LATENCY_BUDGET for policy in numbers["policy"]]
    budget = numbers["budget"].astype(float).fillna(pd.Series(asked, numbers.index, dtype=float))
    return numbers.assign(budget=budget.astype(int))


def latency_beside(times: pd.DataFrame, paper: str | Path) -> pd.DataFrame:
    """Median decode latency with the smallest and largest repeat as its interval, beside the paper's at 16K tokens."""
    _, theirs = paper_values.accuracy_speed(paper)
    right = (times["input_tokens"] == paper_values.LATENCY_TOKENS) & times["budget"].isin(
        [0, paper_values.LATENCY_BUDGET]
    )
    groups = times[right].groupby(["model", "policy"], sort=False)[_LATENCY]
    found = groups.agg(["median", "min", "max"]).reset_index()
    found = found.rename(columns={"median": _LATENCY, "min": "ci_low", "max": "ci_high"})
    return beside(found, theirs, ["policy"], _LATENCY)


def _in_order(numbers: pd.DataFrame) -> pd.DataFrame:
    """Model by model, method by method, benchmark by benchmark."""
    order = {"model": in_order(numbers["model"]), "policy": method_order(numbers["policy"])}
    order["benchmark"] = in_order(numbers["benchmark"])
    ranks = {name: {value: rank for rank, value in enumerate(values)} for name, values in order.items()}
    return numbers.sort_values(list(order), key=lambda column: column.map(ranks[column.name]))


def _with_latency(numbers: pd.DataFrame, latency: pd.Series, tokens: int) -> pd.DataFrame:
    found = [latency.get(key) for key in zip(numbers["model"], numbers["policy"])]
    return numbers.assign(**{_LATENCY: found, "latency_input_tokens": tokens})


def _rows(
    numbers: pd.DataFrame,
    benchmarks: list[str],
    of_time: dict[tuple[str, str], dict[str, Any]],
    *,
    detailed: bool,
) -> list[Row]:
    rows: list[Row] = []
    for model in in_order(numbers["model"]):
        own = numbers[numbers["model"] == model]
        for policy in method_order(own["policy"]):
            found = {row["benchmark"]: row for row in own[own["policy"] == policy].to_dict("records")}
            row: list[str | Cell] = [model, label_of(policy)]
            for name in benchmarks:
                at = found.get(name)
                if at is None or (pd.isna(at["score"]) and at.get("status") != NOT_RUN):
                    row.append(MISSING)
                    continue
                others = own[(own["benchmark"] == name) & (own["policy"] != "fullkv")]["score"]
                best = policy != "fullkv" and round(at["score"], 3) == round(others.max(), 3)
                row.append(cell(at, best) if detailed else Cell(f"{at['score']:.3f}", best))
            time = next(iter(found.values()))[_LATENCY]
            there = of_time.get((model, policy))
            if there is not None and not pd.isna(there[_LATENCY]):
                row.append(cell(there, value=_LATENCY, digits=2))
            else:
                row.append(MISSING if time is None or pd.isna(time) else f"{time:.2f}")
            rows.append(row)
    return rows


def _notes_of_latency(tokens: int) -> list[str]:
    if tokens == paper_values.LATENCY_TOKENS:
        return ["The latency's interval goes from the smallest to the largest repeat; it is of this device."]
    return [
        f"The paper's latency is at {paper_values.LATENCY_TOKENS} input tokens, which were not run: there is nothing "
        "to compare."
    ]


def _budget(cells: pd.DataFrame, known: bool) -> int:
    first = cells[cells["benchmark"] == cells["benchmark"].iloc[0]]
    budgets = sorted(set(first["budget"]) - {0})
    if known and (cells["budget"] == paper_values.LATENCY_BUDGET).any():
        return paper_values.LATENCY_BUDGET
    if not budgets:
        raise InputError("table 2: no cell of these predictions has a budget; evaluate some methods")
    return int(budgets[(len(budgets) - 1) // 2])


def _tokens(times: pd.DataFrame, known: bool) -> int:
    if known and (times["input_tokens"] == paper_values.LATENCY_TOKENS).any():
        return paper_values.LATENCY_TOKENS
    return int(times["input_tokens"].max())
