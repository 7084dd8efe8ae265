"""Figure 4: score against budget, one panel per benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from sparsemm.errors import InputError
from sparsemm.methods import look, main_methods, method_order
from sparsemm.reporting.figures.style import foot, log2_ticks, panel_grid, paper_style, save
from sparsemm.reporting.summary import (
    Paths,
    panels,
    part,
    read_predictions,
    summarise,
)


def figure4(
    predictions: Paths, stem: str | Path, *, policies: Sequence[str] | None = None, level: float = 0.95
) -> None:
    """Write `<stem>.pdf` and `.png`: mean score of every method against its budget, on a log2 axis.

    Bands are bootstrap intervals over samples. The dashed line is the full cache, with its interval.

    Args:
        predictions: files of kind predictions, of any number of models, benchmarks and shards.
        stem: path of the figure without its suffix.
        policies: labels to draw; None for all compared methods, without ablations.
        level: of the intervals.

    Raises:
        InputError: for a file that cannot be read, and where no cell has a budget.
    """
    cells = summarise(read_predictions(predictions), level=level)
    cells = cells[cells["policy"].isin(list(policies or main_methods()))]
    if not (cells["budget"] > 0).any():
        raise InputError("figure 4: no cell of these predictions has a budget; evaluate some methods")
    names = panels(cells)
    with paper_style():
        figure, axes = panel_grid(names, columns=5 if len(names) > 4 else 4)
        for (model, benchmark), panel in axes.items():
            _panel(panel, part(cells, model, benchmark))
        foot(figure, list(axes.values()), "KV-cache budget (tokens per KV head)")
        save(figure, stem)


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
    low, high = panel.get_ylim()
    panel.set_ylim(0.0 if low < 0.15 else low, max(high, 0.1))
