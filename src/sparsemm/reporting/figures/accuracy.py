"""Figures 4 and 5: score against budget, one panel per benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sparsemm.errors import InputError
from sparsemm.methods import look, main_methods, method_order
from sparsemm.reporting.figures.style import (
    foot,
    log2_ticks,
    not_run,
    panel_grid,
    paper_style,
    save,
    say,
)
from sparsemm.reporting.paper_values import TABLE6, accuracy, paper_name
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    panels,
    part,
    read_predictions,
    summarise,
)


def figure4(
    predictions: Paths,
    stem: str | Path,
    *,
    policies: Sequence[str] | None = None,
    level: float = 0.95,
    run_scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.pdf` and `.png`: mean score of every method against its budget, on a log2 axis.

    Bands are bootstrap intervals over samples. The dashed line is the full cache, with its interval. Open markers are
    the paper's values, where the model is one of the paper's. The benchmarks of table 6 are in figure 5.

    Args:
        predictions: files of kind predictions, of any number of models, benchmarks and shards.
        stem: path of the figure without its suffix.
        policies: labels to draw; None for all compared methods, without ablations.
        level: of the intervals.
        run_scores: files of kind run_scores.
        paper: data/paper/accuracy.csv.

    Raises:
        InputError: for a file that cannot be read, and where no cell has a budget.
    """
    _figure(4, predictions, stem, policies, level, run_scores, paper)


def figure5(
    predictions: Paths,
    stem: str | Path,
    *,
    policies: Sequence[str] | None = None,
    level: float = 0.95,
    run_scores: Paths = (),
    paper: str | Path | None = None,
) -> None:
    """Write `<stem>.pdf` and `.png`: as `figure4`, of the benchmarks of table 6; arguments as there."""
    _figure(5, predictions, stem, policies, level, run_scores, paper)


def _figure(
    number: int,
    predictions: Paths,
    stem: str | Path,
    policies: Sequence[str] | None,
    level: float,
    run_scores: Paths,
    paper: str | Path | None,
) -> None:
    mine = [path for path in as_paths(predictions) if (path.parent.name in TABLE6) == (number == 5)]
    if not mine:
        not_run(stem, f"no benchmark of figure {number}")
        return
    units = [path for path in as_paths(run_scores) if (path.stem in TABLE6) == (number == 5)]
    cells = summarise(read_predictions(mine, units), level=level)
    cells = cells[cells["policy"].isin(list(policies or main_methods(cells["policy"])))]
    if not (cells["budget"] > 0).any():
        raise InputError(f"figure {number}: no cell of these predictions has a budget; evaluate some methods")
    theirs = None if paper is None else accuracy(paper)
    names = panels(cells)
    with paper_style():
        figure, axes = panel_grid(names, columns=5 if len(names) > 4 else 4)
        for (model, benchmark), panel in axes.items():
            own = part(cells, model, benchmark)
            if own["score"].isna().all():
                say(panel, f"no score:\n{own['metric'].iloc[0]} could\nnot be computed")
                continue
            _panel(panel, own)
            if theirs is not None:
                here = theirs[
                    (theirs["paper_model"] == paper_name(model)) & (theirs["benchmark"] == benchmark)
                ]
                _paper_points(panel, here[here["policy"].isin(own["policy"])])
            _limits(panel)
        foot(figure, list(axes.values()), "KV-cache budget (tokens per KV head)")
        save(figure, stem)


def _paper_points(panel: Axes, rows: pd.DataFrame) -> None:
    """The paper's values as open markers in the colours of their methods."""
    for index, label in enumerate(method_order(rows["policy"])):
        own, style = rows[rows["policy"] == label], look(label, index)
        panel.plot(
            own["budget"],
            own["paper_score"],
            color=style.color,
            marker=style.marker,
            markerfacecolor="none",
            markersize=5.5,
            markeredgewidth=0.8,
            linestyle="",
            alpha=0.8,
            zorder=4,
        )
    if len(rows):
        open_marker: dict[str, Any] = {
            "marker": "o",
            "markerfacecolor": "none",
            "linestyle": "",
            "color": "#444444",
        }
        panel.plot([], [], label="paper", markersize=5.5, markeredgewidth=0.8, **open_marker)


def _panel(panel: Axes, cells: pd.DataFrame) -> None:
    budgets = sorted(set(cells["budget"]) - {0})
    for index, label in enumerate(method_order(cells["policy"])):
        rows, style = cells[cells["policy"] == label].sort_values("budget"), look(label, index)
        if label == "fullkv":
            full = rows.iloc[0]
            panel.axhspan(full["ci_low"], full["ci_high"], color=style.color, alpha=0.07, linewidth=0)
            panel.axhline(full["score"], color=style.color, linestyle="--", linewidth=1.0, label=style.label)
            continue
        rows = rows[rows["budget"] > 0]
        front = 3 if label == "sparsemm" else 2
        panel.fill_between(
            rows["budget"], rows["ci_low"], rows["ci_high"], color=style.color, alpha=0.15, linewidth=0
        )
        panel.plot(
            rows["budget"],
            rows["score"],
            color=style.color,
            marker=style.marker,
            linestyle=style.line,
            label=style.label,
            zorder=front,
        )
    log2_ticks(panel, budgets)
    panel.set_ylabel(cells["metric"].iloc[0])


def _limits(panel: Axes) -> None:
    low, high = panel.get_ylim()
    panel.set_ylim(0.0 if low < 0.15 else low, max(high, 0.1))
