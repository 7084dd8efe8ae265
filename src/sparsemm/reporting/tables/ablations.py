"""Tables 3 (ablation of rho), 4 (the three parts of the budget) and the audit (tokens kept against asked for)."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import label_of, method_order
from sparsemm.reporting.summary import Paths, main_cells, panels, part, read_predictions, summarise
from sparsemm.reporting.tables.writing import MISSING, Cell, Row, best_of, with_interval, write

_RHO = re.compile(r"sparsemm\[rho=([0-9.eE+-]+)\]")
# Label of a cell -> the parts of the budget that it uses.
_PARTS = {
    "local_window": "local window",
    "sparsemm[rho=1.0]": "+ uniform",
    "sparsemm": "+ score",
}


def table3(
    predictions: Paths, stem: str | Path, *, benchmark: str | None = None, budget: int | None = None
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: SparseMM's score against rho, one column per model.

    Args:
        predictions: files of kind predictions with labels "sparsemm[rho=...]".
        stem: path of the table without its suffix.
        benchmark: of the sweep; None for the one with the most values of rho.
        budget: of the sweep; None for the one with the most values of rho.

    Raises:
        InputError: for a file that cannot be read, and where there is no sweep.
    """
    cells = summarise(read_predictions(predictions))
    cells["rho"] = [_rho(label) for label in cells["policy"]]
    sweep = cells.dropna(subset="rho")
    if benchmark is not None:
        sweep = sweep[sweep["benchmark"] == benchmark]
    if budget is not None:
        sweep = sweep[sweep["budget"] == budget]
    if sweep.empty:
        raise InputError(
            "table 3: no sparsemm[rho=...] in these predictions; run the rho ablation's benchmark"
        )
    name, tokens = sweep.groupby(["benchmark", "budget"], sort=False)["rho"].nunique().idxmax()
    sweep = sweep[(sweep["benchmark"] == name) & (sweep["budget"] == tokens)]
    models = list(dict.fromkeys(sweep["model"]))
    values = sorted(set(sweep["rho"]))
    columns = {model: _column(sweep[sweep["model"] == model].set_index("rho"), values) for model in models}
    rows: list[Row] = [[f"{rho:g}", *(columns[m][i] for m in models)] for i, rho in enumerate(values)]
    shown = ["model", "benchmark", "metric", "budget", "rho", "samples", "score", "ci_low", "ci_high"]
    metric = sweep["metric"].iloc[0]
    notes = [
        f"{metric} on {name} at a budget of {tokens} tokens per KV head, 95 % intervals; bold: the best."
    ]
    write(stem, sweep[shown].sort_values(["model", "rho"]), ["rho", *models], rows, notes)


def table4(predictions: Paths, stem: str | Path, *, benchmark: str | None = None) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: the parts of the budget added one by one, one column per budget.

    Args:
        predictions: files of kind predictions with the labels "local_window" (the whole budget is the window),
            "sparsemm[rho=1.0]" (window and uniform part) and "sparsemm".
        stem: path of the table without its suffix.
        benchmark: of the ablation; None for the first that has these labels.

    Raises:
        InputError: for a file that cannot be read, and where no benchmark has these labels.
    """
    cells = summarise(read_predictions(predictions))
    found = cells[cells["policy"] == "local_window"]
    if benchmark is not None:
        found = found[found["benchmark"] == benchmark]
    if found.empty:
        raise InputError("table 4: no local_window in these predictions; run the parts ablation's benchmark")
    name = found["benchmark"].iloc[0]
    found = found[found["benchmark"] == name]
    budgets = sorted(set(found["budget"]))
    chosen = cells["policy"].isin(list(_PARTS)) & (cells["benchmark"] == name) & cells["budget"].isin(budgets)
    ablation = cells[chosen].assign(parts=cells["policy"].map(_PARTS))
    rows: list[Row] = []
    for model in dict.fromkeys(ablation["model"]):
        own = ablation[ablation["model"] == model].set_index(["policy", "budget"])
        best = {
            budget: dict(zip(_PARTS, best_of([own["score"].get((label, budget)) for label in _PARTS])))
            for budget in budgets
        }
        for label, words in _PARTS.items():
            row: list[str | Cell] = [model, words]
            for budget in budgets:
                if (label, budget) not in own.index:
                    row.append(MISSING)
                    continue
                at = own.loc[(label, budget)]
                text = with_interval(at["score"], at["ci_low"], at["ci_high"])
                row.append(Cell(text, best[budget][label]))
            rows.append(row)
    shown = [
        "model",
        "benchmark",
        "metric",
        "parts",
        "policy",
        "budget",
        "samples",
        "score",
        "ci_low",
        "ci_high",
    ]
    metric = ablation["metric"].iloc[0]
    notes = [
        f"{metric} on {name} by budget (tokens per KV head), 95 % intervals; bold: the best. Local window: the "
        "whole budget is the newest tokens; + uniform: window and the same share for every head; + score: "
        "SparseMM."
    ]
    write(stem, ablation[shown], ["model", "parts", *map(str, budgets)], rows, notes, labels=2)


def table_audit(predictions: Paths, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: tokens kept per KV head against tokens asked for.

    The csv has, per cell: nominal and effective budget, their ratio, the mean prompt, the mean bytes of K and V held,
    and their share of the full cache's bytes.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read, and where no cell has a budget.
    """
    cells = main_cells(summarise(read_predictions(predictions), draws=2))
    full = cells[cells["policy"] == "fullkv"].set_index(["model", "benchmark"])["cache_bytes"]
    cells = cells[cells["budget"] > 0]
    if cells.empty:
        raise InputError("table audit: no cell of these predictions has a budget; evaluate some methods")
    bytes_of_full = [full.get(key) for key in zip(cells["model"], cells["benchmark"])]
    numbers = pd.DataFrame(
        {
            "model": cells["model"],
            "benchmark": cells["benchmark"],
            "policy": cells["policy"],
            "nominal_budget": cells["budget"],
            "effective_budget": cells["kept_tokens"],
            "effective_over_nominal": cells["kept_tokens"] / cells["budget"],
            "prompt_tokens": cells["prompt_tokens"],
            "cache_bytes": cells["cache_bytes"],
            "cache_over_full": cells["cache_bytes"] / pd.Series(bytes_of_full, cells.index, dtype="float64"),
        }
    )
    budgets = sorted(set(numbers["nominal_budget"]))
    rows: list[Row] = []
    for model, benchmark in panels(numbers):
        own = part(numbers, model, benchmark).set_index(["policy", "nominal_budget"])["effective_budget"]
        for label in method_order(own.index.get_level_values(0)):
            kept = [own.get((label, budget)) for budget in budgets]
            shown = [MISSING if value is None else f"{value:.1f}" for value in kept]
            rows.append([model, benchmark, label_of(label), *shown])
    notes = ["Mean tokens kept per KV head, window included, by the budget that was asked for."]
    write(stem, numbers, ["model", "benchmark", "method", *map(str, budgets)], rows, notes, labels=3)


def _rho(label: str) -> float | None:
    match = _RHO.fullmatch(label)
    return float(match.group(1)) if match else None


def _column(rows: pd.DataFrame, values: list[float]) -> list[Cell]:
    found = [rows["score"].get(rho) for rho in values]
    cells = []
    for rho, best in zip(values, best_of(found)):
        if rho not in rows.index:
            cells.append(Cell(MISSING))
            continue
        at = rows.loc[rho]
        cells.append(Cell(with_interval(at["score"], at["ci_low"], at["ci_high"]), best))
    return cells
