"""How much of the paper this run reproduces: cells that agree, differ and were not run, table by table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.reporting import paper_values
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.paper_values import in_paper
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    main_cells,
    read_efficiency,
    read_predictions,
    summarise,
)
from sparsemm.reporting.tables.ablations import parts_ablation, rho_sweep
from sparsemm.reporting.tables.accuracy import of_table
from sparsemm.reporting.tables.beside import AGREES, DIFFERS, NO_SCORE, beside
from sparsemm.reporting.tables.speed import latency_beside, scores_beside
from sparsemm.reporting.tables.tokens import tokens_beside
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN, Row, write

_COUNTED = {AGREES: "agree", DIFFERS: "differ", NO_SCORE: "no_score", NOT_RUN: "not_run"}
# Figures of the paper that no stage gives data for.
_NEVER = {
    "figure 8": "visual heads found on other probe sets (MLT, CTW, COCO)",
    "figure 9": "scores with the heads of those probe sets",
}
# The files of data/paper.
_FILES = {
    1: "table1_input_tokens.csv",
    2: "table2_accuracy_speed.csv",
    3: "table3_rho_ablation_ocrbench_budget256.csv",
    4: "table4_component_ablation_mmbench_qwen2vl.csv",
    5: "accuracy.csv",
    6: "figure6_efficiency.csv",
}
_GIB = 1024.0**3


def repro(
    predictions: Paths,
    efficiency: Paths,
    paper: Paths,
    stem: str | Path,
    *,
    run_scores: Paths = (),
    scores: Paths = (),
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: per table of the paper, its cells and how many of ours agree.

    A cell agrees if the paper's value is inside our 95 % interval; a timing, if it is between our smallest and largest
    repeat.

    Args:
        predictions: files of kind predictions.
        efficiency: files of kind efficiency.
        paper: the files of data/paper.
        stem: path of the table without its suffix.
        run_scores: files of kind run_scores.
        scores: files of kind scores, for what the notes say of them.

    Raises:
        InputError: for a file that cannot be read.
    """
    files = {path.name: path for path in as_paths(paper)}
    of = {number: files[name] for number, name in _FILES.items()}
    found = {
        **_of_predictions(predictions, run_scores, of),
        **_of_efficiency(read_efficiency(efficiency), of),
    }
    records = []
    for name in sorted(found, key=lambda name: (name.startswith("figure"), name)):
        counts = found[name].value_counts()
        records.append((name, *(int(counts.get(status, 0)) for status in _COUNTED)))
    numbers = pd.DataFrame(records, columns=["table", *_COUNTED.values()])
    numbers.insert(1, "cells", numbers[list(_COUNTED.values())].sum(axis=1))
    ran = numbers["not_run"] < numbers["cells"]
    numbers["status"] = ["run" if whole else NOT_RUN for whole in ran]
    numbers.loc[~ran, ["agree", "differ", "no_score"]] = None
    numbers = pd.concat(
        [numbers, pd.DataFrame({"table": list(_NEVER), "status": NOT_RUN})], ignore_index=True
    )
    rows: list[Row] = []
    for row in numbers.to_dict("records"):
        shown = [MISSING if pd.isna(row[name]) else f"{row[name]:.0f}" for name in numbers.columns[1:-1]]
        if row["status"] == NOT_RUN:
            shown[1:4] = [NOT_RUN, MISSING, MISSING]
        rows.append([row["table"], *shown])
    notes = [
        "Cells with a value in the paper (arXiv 2506.05344). Agree: the paper's value is inside our 95 % interval "
        "(timings and memory: between our smallest and largest repeat; they are of this device).",
        *(f"{name}: {text}: {NOT_RUN}." for name, text in _NEVER.items()),
        *run_notes(predictions, run_scores=run_scores, scores=scores),
    ]
    if not ran.any():
        notes.insert(0, "No model of this run is in the paper, or none of its cells was run.")
    head = ["of the paper", "cells", "agree", "differ", "no score", NOT_RUN]
    write(stem, numbers, head, rows, notes)


def _of_predictions(predictions: Paths, run_scores: Paths, of: dict[int, Path]) -> dict[str, pd.Series]:
    """Status of every cell of the paper's tables of tokens and scores."""
    if as_paths(predictions):
        frame = read_predictions(predictions, run_scores)
        frame = frame[frame["model"].map(in_paper)]
    else:
        frame = pd.DataFrame()
    if frame.empty:
        cells = pd.DataFrame(columns=["model", "benchmark", "policy", "budget", "score", "ci_low", "ci_high"])
        tokens = beside(
            cells.assign(mean_input_tokens=[]),
            paper_values.input_tokens(of[1]),
            ["benchmark"],
            "mean_input_tokens",
        )
    else:
        cells = summarise(frame)
        tokens = tokens_beside(frame, paper_values.input_tokens(of[1]))
    ours = main_cells(cells)
    at = ours[(ours["budget"] == paper_values.LATENCY_BUDGET) | (ours["policy"] == "fullkv")]
    speed, _ = paper_values.accuracy_speed(of[2])
    rho, parts, accuracy = (
        paper_values.rho_sweep(of[3]),
        paper_values.parts(of[4]),
        paper_values.accuracy(of[5]),
    )
    by_policy = ["benchmark", "policy", "budget"]
    found = {
        "table 1": tokens,
        "table 2, scores": scores_beside(at, speed),
        "table 3": beside(rho_sweep(cells, "ocrbench", 256), rho, ["benchmark", "budget", "rho"]),
        "table 4": beside(parts_ablation(cells, "mmbench"), parts, by_policy),
        "table 5": beside(of_table(5, ours), of_table(5, accuracy), by_policy),
        "table 6": beside(of_table(6, ours), of_table(6, accuracy), by_policy),
    }
    return {name: numbers["status"] for name, numbers in found.items()}


def _of_efficiency(times: pd.DataFrame, of: dict[int, Path]) -> dict[str, pd.Series]:
    """Status of the paper's latencies of table 2 and of the points of figure 6."""
    times = times[times["model"].map(in_paper)].assign(peak_gb=times["peak_bytes"] / _GIB)
    times = times[times["budget"].isin([0, paper_values.LATENCY_BUDGET])]
    theirs = paper_values.efficiency(of[6])
    points = []
    for value in ("decode_ms_per_token", "peak_gb"):
        groups = times.groupby(["model", "policy", "input_tokens"], sort=False)[value]
        ours = groups.agg(["median", "min", "max"]).reset_index()
        ours = ours.rename(columns={"median": value, "min": "ci_low", "max": "ci_high"})
        values = theirs.rename(columns={value: f"paper_{value}"})
        points.append(beside(ours, values, ["policy", "input_tokens"], value)["status"])
    latency = latency_beside(times, of[2])["status"]
    return {"table 2, latency": latency, "figure 6": pd.concat(points, ignore_index=True)}
