"""The matrix's figures: score of every allocator with every ranker, and score against the bytes that a cache holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sparsemm.methods import METHODS, QUESTIONS, RANKERS, label_of, look
from sparsemm.reporting.figures.style import not_run, panel_grid, paper_style, save
from sparsemm.reporting.matrix import COLUMNS, PUBLISHED, matrix_cells
from sparsemm.reporting.summary import Paths, as_paths, panels, part, read_predictions

_KNOWN = {"aware": "known", "agnostic": "not known", "instructed": "not known, ranked by an instruction"}
_MISSING = "fewer than two rankers among the policies"


def figure_matrix(predictions: Paths, stem: str | Path, *, run_scores: Paths = ()) -> None:
    """Write `<stem>.pdf` and `.png`: a heat map a benchmark, question mode and budget, allocators by rankers.

    A cell says the score and half the width of its 95 % interval; the paper's methods are framed.

    Args:
        predictions: files of kind predictions.
        stem: path of the figure without its suffix.
        run_scores: files of kind run_scores.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = _cells(predictions, run_scores)
    pairs = cells[cells["allocator"] != ""]
    if pairs.empty:
        not_run(stem, _MISSING)
        return
    places = list(
        pairs[["model", "benchmark", "question"]].drop_duplicates().itertuples(index=False, name=None)
    )
    budgets = sorted(pairs["budget"].unique())
    rankers = [name for name in RANKERS if name in set(pairs["ranker"])]
    allocators = [name for name in METHODS if name in set(pairs["allocator"])]
    with paper_style():
        size = (1.2 + 0.46 * len(rankers) * len(budgets), 0.9 + (0.75 + 0.27 * len(allocators)) * len(places))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(places), len(budgets), squeeze=False, sharex=True, sharey=True)
        for row, (model, benchmark, question) in zip(grid, places):
            own = part(pairs, model, benchmark)
            own = own[own["question"] == question]
            for panel, budget in zip(row, budgets):
                _heat(panel, own[own["budget"] == budget], allocators, rankers)
                panel.set_title(f"{benchmark}, question {_KNOWN[question]}, budget {budget}")
            row[0].set_ylabel(model)
        for panel in grid[-1]:
            panel.set_xticks(range(len(rankers)), [RANKERS[name].label for name in rankers], rotation=90)
        save(figure, stem)


def _heat(panel: Axes, cells: pd.DataFrame, allocators: list[str], rankers: list[str]) -> None:
    table = cells.pivot(index="allocator", columns="ranker", values="score")
    table = table.reindex(index=allocators, columns=rankers)
    half = cells.assign(half=(cells["ci_high"] - cells["ci_low"]) / 2)
    halves = half.pivot(index="allocator", columns="ranker", values="half").reindex_like(table).to_numpy()
    values = table.to_numpy(dtype=float)
    known = (cells["question"] == QUESTIONS[0]).all()  # as in the paper
    panel.imshow(values, cmap="Blues", vmin=0.0, vmax=max(1.0, np.nanmax(values)), aspect="auto")
    panel.set_yticks(range(len(allocators)), [label_of(name) for name in allocators])
    panel.tick_params(length=0)
    panel.grid(visible=False)
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        text = f"{value:.2f}\n±{halves[row, column]:.2f}"
        dark = value > 0.6
        panel.text(
            column, row, text, ha="center", va="center", fontsize=4.6, color="white" if dark else "#222222"
        )
        if known and allocators[row] in PUBLISHED and rankers[column] == METHODS[allocators[row]].ranker:
            frame = Rectangle(
                (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.4, clip_on=False
            )
            panel.add_patch(frame)


def figure_pareto(predictions: Paths, stem: str | Path, *, run_scores: Paths = ()) -> None:
    """Write `<stem>.pdf` and `.png`: score against the bytes of K and V that a cache holds, a point a pair and budget.

    The line joins the pairs that no other one beats in both. Colours are allocators, markers rankers; hollow ones
    did not know the question.

    Args:
        predictions: files of kind predictions.
        stem: path of the figure without its suffix.
        run_scores: files of kind run_scores.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = _cells(predictions, run_scores)
    pairs = cells[cells["allocator"] != ""].dropna(subset="score")
    if pairs.empty:
        not_run(stem, _MISSING)
        return
    with paper_style():
        figure, axes = panel_grid(panels(pairs), columns=3, width=2.6, height=2.3)
        for (model, benchmark), panel in axes.items():
            own, whole = part(pairs, model, benchmark), part(cells, model, benchmark)
            _points(panel, own)
            for full in whole.loc[whole["allocator"] == "", "score"]:
                panel.axhline(full, color=look("fullkv").color, linestyle="--", linewidth=0.8)
            panel.set_xlabel("K and V held (KiB)")
            panel.set_ylabel("score")
        figure.legend(handles=_legend(pairs), loc="outside right upper", fontsize=6)
        save(figure, stem)


def _points(panel: Axes, cells: pd.DataFrame) -> None:
    for row in cells.itertuples():
        panel.plot(
            row.cache_bytes / 1024,
            row.score,
            color=look(str(row.allocator)).color,
            marker=RANKERS[str(row.ranker)].marker,
            linestyle="",
            markersize=4,
            markerfacecolor="none" if row.question != "aware" else None,
            alpha=0.85,
        )
    best = cells.sort_values(["cache_bytes", "score"], ascending=[True, False])
    best = best[best["score"] > best["score"].cummax().shift(fill_value=-1.0)]
    panel.plot(best["cache_bytes"] / 1024, best["score"], color="#BBBBBB", linewidth=1.0, zorder=1)


def _legend(cells: pd.DataFrame) -> list[Line2D]:
    allocators = [name for name in METHODS if name in set(cells["allocator"])]
    rankers = [name for name in RANKERS if name in set(cells["ranker"])]
    full = look("fullkv")
    return [
        *(
            Line2D([], [], color=look(n).color, marker="s", linestyle="", label=label_of(n))
            for n in allocators
        ),
        Line2D([], [], color=full.color, linestyle="--", label=full.label),
        *(
            Line2D([], [], color="#555555", marker=RANKERS[n].marker, linestyle="", label=RANKERS[n].label)
            for n in rankers
        ),
    ]


def _cells(predictions: Paths, run_scores: Paths) -> pd.DataFrame:
    if not as_paths(predictions):
        return pd.DataFrame(columns=COLUMNS)
    return matrix_cells(read_predictions(predictions, run_scores))
