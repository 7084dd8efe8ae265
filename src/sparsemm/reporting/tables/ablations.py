"""Tables 3 (ablation of rho), 4 (the three parts of the budget) and the audit (tokens kept against asked for)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.labels import method_settings
from sparsemm.methods import label_of, method_order
from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import limit_of, run_notes
from sparsemm.reporting.paper_values import in_paper
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    in_order,
    main_cells,
    panels,
    part,
    read_predictions,
    summarise,
)
from sparsemm.reporting.tables.beside import BESIDE, beside, cell, extent
from sparsemm.reporting.tables.writing import MISSING, Cell, Row, best_of, write, write_not_run

# Label of a cell -> the parts of the budget that it uses.
_PARTS = {
    "local_window": "local window",
    "sparsemm[rho=1.0]": "+ uniform",
    "sparsemm": "+ score",
}
_CELL = ["model", "benchmark", "metric"]
_SCORE = ["samples", "score", "ci_low", "ci_high"]
_RHO_COLUMNS = [*_CELL, "budget", "rho", *_SCORE]
_PARTS_COLUMNS = [*_CELL, "parts", "policy", "budget", *_SCORE]
_AUDIT_COLUMNS = [
    "model",
    "benchmark",
    "policy",
    "nominal_budget",
    "effective_budget",
    "effective_over_nominal",
]
_AUDIT_COLUMNS += ["prompt_tokens", "cache_bytes", "cache_over_full"]


def table3(
    predictions: Paths,
    stem: str | Path,
    *,
    benchmark: str | None = None,
    budget: int | None = None,
    run_scores: Paths = (),
    scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: SparseMM's score against rho, one column per model.

    With one of the paper's models in the run, the paper's scores stand beside ours.

    Args:
        predictions: files of kind predictions with labels "sparsemm[rho=...]".
        stem: path of the table without its suffix.
        benchmark: of the sweep; None for the one with the most values of rho.
        budget: of the sweep; None for the one with the most values of rho.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.
        paper: data/paper/table3_rho_ablation_ocrbench_budget256.csv.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = _cells(predictions, run_scores, benchmark)
    sweep = rho_sweep(cells, benchmark, budget)
    if sweep.empty:
        write_not_run(stem, _RHO_COLUMNS, ["rho", "score"], ["The sweep of rho was not run."])
        return
    name, tokens = sweep["benchmark"].iloc[0], sweep["budget"].iloc[0]
    metric = sweep["metric"].iloc[0]
    notes = [
        f"{metric} on {name} at a budget of {tokens} tokens per KV head, 95 % intervals; bold: the best.",
        *run_notes(_files_of(predictions, name), run_scores=_units_of(run_scores, name), scores=scores),
    ]
    numbers = sweep[_RHO_COLUMNS].sort_values(["model", "rho"])
    if paper is not None and numbers["model"].map(in_paper).any():
        theirs = paper_values.rho_sweep(paper)
        if (name, tokens) in set(zip(theirs["benchmark"], theirs["budget"])):
            numbers = beside(numbers, theirs, ["benchmark", "budget", "rho"])
            notes += [BESIDE, *extent(numbers, theirs, limit_of(predictions))]
    models = in_order([*sweep["model"], *numbers["model"]])
    values = sorted(set(numbers["rho"]))
    columns = {model: _column(numbers[numbers["model"] == model], "rho", values) for model in models}
    rows: list[Row] = [[f"{rho:g}", *(columns[m][i] for m in models)] for i, rho in enumerate(values)]
    write(stem, numbers, ["rho", *models], rows, notes)


def rho_sweep(cells: pd.DataFrame, benchmark: str | None = None, budget: int | None = None) -> pd.DataFrame:
    """The cells of the sweep of rho, with the column rho; no rows where there is none.

    Args:
        cells: from `summarise`.
        benchmark, budget: of the sweep; None for the pair with the most values of rho, at least two.
    """
    sweep = cells.assign(rho=[_rho(label) for label in cells["policy"]]).dropna(subset="rho")
    if benchmark is not None:
        sweep = sweep[sweep["benchmark"] == benchmark]
    if budget is not None:
        sweep = sweep[sweep["budget"] == budget]
    if sweep.empty:
        return sweep
    counts = sweep.groupby(["benchmark", "budget"], sort=False)["rho"].nunique()
    if benchmark is None and counts.max() < 2:
        return sweep.iloc[:0]  # "sparsemm[rho=1.0]" of table 4
    name, tokens = counts.idxmax()
    return sweep[(sweep["benchmark"] == name) & (sweep["budget"] == tokens)]


def table4(
    predictions: Paths,
    stem: str | Path,
    *,
    benchmark: str | None = None,
    run_scores: Paths = (),
    scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: the parts of the budget added one by one, one column per budget.

    With one of the paper's models in the run, the paper's scores stand beside ours.

    Args:
        predictions: files of kind predictions with the labels "local_window" (the whole budget is the window),
            "sparsemm[rho=1.0]" (window and uniform part) and "sparsemm".
        stem: path of the table without its suffix.
        benchmark: of the ablation; None for the first that has these labels.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.
        paper: data/paper/table4_component_ablation_mmbench_qwen2vl.csv.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = _cells(predictions, run_scores, benchmark)
    ablation = parts_ablation(cells, benchmark)
    if ablation.empty:
        write_not_run(
            stem, _PARTS_COLUMNS, ["model", "parts", "score"], ["The ablation was not run."], labels=2
        )
        return
    name, metric = ablation["benchmark"].iloc[0], ablation["metric"].iloc[0]
    notes = [
        f"{metric} on {name} by budget (tokens per KV head), 95 % intervals; bold: the best. Local window: the "
        "whole budget is the newest tokens; + uniform: window and the same share for every head; + score: "
        "SparseMM.",
        *run_notes(_files_of(predictions, name), run_scores=_units_of(run_scores, name), scores=scores),
    ]
    numbers = ablation[_PARTS_COLUMNS]
    if paper is not None and numbers["model"].map(in_paper).any():
        theirs = paper_values.parts(paper)
        if name in set(theirs["benchmark"]):
            numbers = beside(numbers, theirs, ["benchmark", "policy", "budget"])
            numbers = numbers.assign(parts=numbers["policy"].map(_PARTS))
            notes += [BESIDE, *extent(numbers, theirs, limit_of(predictions))]
    budgets = sorted(set(numbers["budget"]))
    rows: list[Row] = []
    for model in in_order(numbers["model"]):
        own = numbers[numbers["model"] == model]
        columns = {
            budget: _column(own[own["budget"] == budget], "policy", list(_PARTS)) for budget in budgets
        }
        for index, words in enumerate(_PARTS.values()):
            rows.append([model, words, *(columns[budget][index] for budget in budgets)])
    write(stem, numbers, ["model", "parts", *map(str, budgets)], rows, notes, labels=2)


def parts_ablation(cells: pd.DataFrame, benchmark: str | None = None) -> pd.DataFrame:
    """The cells of the ablation of the budget's parts, with the column parts; no rows where there is none.

    Args:
        cells: from `summarise`.
        benchmark: of the ablation; None for the first that has the label "local_window".
    """
    found = cells[cells["policy"] == "local_window"]
    if benchmark is not None:
        found = found[found["benchmark"] == benchmark]
    if found.empty:
        return found.assign(parts=None)
    name = found["benchmark"].iloc[0]
    budgets = set(found.loc[found["benchmark"] == name, "budget"])
    chosen = cells["policy"].isin(list(_PARTS)) & (cells["benchmark"] == name) & cells["budget"].isin(budgets)
    return cells[chosen].assign(parts=cells["policy"].map(_PARTS))


def table_audit(predictions: Paths, stem: str | Path, *, scores: Paths = ()) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: tokens kept per KV head against tokens asked for.

    The csv has, per cell: nominal and effective budget, their ratio, the mean prompt, the mean bytes of K and V held,
    and their share of the full cache's bytes.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        scores: files of kind scores, for what the notes say of them.

    Raises:
        InputError: for a file that cannot be read, and where no cell has a budget.
    """
    if not as_paths(predictions):
        head = ["model", "benchmark", "method", "tokens kept"]
        write_not_run(stem, _AUDIT_COLUMNS, head, ["No benchmark was run."], labels=3)
        return
    cells = main_cells(summarise(read_predictions(predictions), draws=2))
    full = cells[cells["policy"] == "fullkv"].set_index(["model", "benchmark"])["cache_bytes"]
    cells = cells[cells["budget"] > 0]
    if cells.empty:
        raise InputError("table audit: no cell of these predictions has a budget; evaluate some methods")
    bytes_of_full = [full.get(key) for key in zip(cells["model"], cells["benchmark"])]
    kept, share = cells["kept_tokens"], pd.Series(bytes_of_full, cells.index, dtype="float64")
    numbers = cells.rename(columns={"budget": "nominal_budget", "kept_tokens": "effective_budget"}).assign(
        effective_over_nominal=kept / cells["budget"], cache_over_full=cells["cache_bytes"] / share
    )[_AUDIT_COLUMNS]
    budgets = sorted(set(numbers["nominal_budget"]))
    rows: list[Row] = []
    for model, benchmark in panels(numbers):
        own = part(numbers, model, benchmark).set_index(["policy", "nominal_budget"])["effective_budget"]
        for label in method_order(own.index.get_level_values(0)):
            kept = [own.get((label, budget)) for budget in budgets]
            shown = [MISSING if value is None else f"{value:.1f}" for value in kept]
            rows.append([model, benchmark, label_of(label), *shown])
    notes = ["Mean tokens kept per KV head, window included, by the budget that was asked for."]
    notes += run_notes(predictions, scores=scores)
    write(stem, numbers, ["model", "benchmark", "method", *map(str, budgets)], rows, notes, labels=3)


def _rho(label: str) -> float | None:
    name, settings = method_settings(label)
    return float(settings["rho"]) if (name, [*settings]) == ("sparsemm", ["rho"]) else None


def _column(own: pd.DataFrame, key: str, values: Sequence[float | str]) -> list[Cell]:
    """The cells of a column, one for each of the values of `key`; the best is bold."""
    found = {row[key]: row for row in own.to_dict("records")}
    rows = [found.get(value) for value in values]
    best = best_of([None if row is None else row["score"] for row in rows])
    return [Cell(MISSING) if row is None else cell(row, bold) for row, bold in zip(rows, best)]


def _cells(predictions: Paths, run_scores: Paths, benchmark: str | None) -> pd.DataFrame:
    """The cells of one benchmark or, with None, of all; an empty frame where nothing was run."""
    files = _files_of(predictions, benchmark)
    if not files:
        return pd.DataFrame(columns=["model", "benchmark", "policy", "budget"])
    return summarise(read_predictions(files, _units_of(run_scores, benchmark)))


def _files_of(predictions: Paths, benchmark: str | None) -> list[Path]:
    return [path for path in as_paths(predictions) if benchmark in (None, path.parent.name)]


def _units_of(run_scores: Paths, benchmark: str | None) -> list[Path]:
    return [path for path in as_paths(run_scores) if benchmark in (None, path.stem)]
