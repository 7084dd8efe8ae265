"""The cells of benchmarks that are answered with the heads found on several probe sets."""

from __future__ import annotations

import pandas as pd

from sparsemm.labels import method_settings
from sparsemm.reporting.agreement import BASE
from sparsemm.reporting.summary import Paths, as_paths, read_predictions, summarise


def probe_cells(predictions: Paths, run_scores: Paths = (), *, level: float = 0.95) -> pd.DataFrame:
    """The cells of benchmarks that are answered with heads found on several probe sets; no rows where there are none.

    Args:
        predictions: files of kind predictions.
        run_scores: files of kind run_scores.
        level: of the intervals.

    Returns:
        Cells as `summarise` gives them, of sparsemm with its own heads (probe `BASE`) and with those of each further
        set (probe: its name), of random_heads and fullkv (probe empty), at the budgets of the comparison.
    """
    empty = pd.DataFrame(columns=["model", "benchmark", "policy", "budget", "probe"])
    if not as_paths(predictions):
        return empty
    rows = read_predictions(predictions, run_scores)
    rows = rows.assign(probe=[probe_of(label) for label in rows["policy"]])
    further = rows[~rows["probe"].isin(["", BASE])]
    kept = rows.merge(further[["model", "benchmark"]].drop_duplicates(), on=["model", "benchmark"])
    named = (kept["probe"] != "") | kept["policy"].isin(["fullkv", "random_heads"])
    kept = kept[named & kept["budget"].isin({0, *further["budget"]})]
    if kept.empty:
        return empty
    cells = summarise(kept.drop(columns="probe"), level=level)
    return cells.assign(probe=[probe_of(label) for label in cells["policy"]])


def probe_of(label: str) -> str:
    """The probe set whose heads a cell's budget follows; empty for other methods and settings."""
    name, settings = method_settings(label)
    if name != "sparsemm" or set(settings) - {"probe"}:
        return ""
    return settings.get("probe", BASE)
