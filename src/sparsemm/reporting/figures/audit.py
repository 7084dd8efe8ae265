"""The audit's figure: effective budget (tokens kept) against nominal budget (tokens asked for)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sparsemm.errors import InputError
from sparsemm.methods import look, method_order
from sparsemm.reporting.figures.style import (
    foot,
    in_first_column,
    log2_ticks,
    not_run,
    panel_grid,
    paper_style,
    save,
)
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    main_cells,
    panels,
    part,
    read_predictions,
    summarise,
)


def figure_audit(predictions: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: mean tokens kept per KV head against tokens asked for, on log2 axes.

    On the grey diagonal a cache keeps what was asked for. The dashed line is the mean prompt: no cache keeps more.

    Args:
        predictions: files of kind predictions.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file that cannot be read, and where no cell has a budget.
    """
    if not as_paths(predictions):
        not_run(stem, "no benchmark")
        return
    # Only means of token counts are used, no intervals of scores: few draws are enough.
    cells = main_cells(summarise(read_predictions(predictions), draws=2))
    if not (cells["budget"] > 0).any():
        raise InputError("figure audit: no cell of these predictions has a budget; evaluate some methods")
    names = panels(cells)
    with paper_style():
        figure, axes = panel_grid(names, columns=5 if len(names) > 4 else 4)
        for (model, benchmark), panel in axes.items():
            _panel(panel, part(cells, model, benchmark))
            if in_first_column(panel):
                panel.set_ylabel("effective budget")
        foot(figure, list(axes.values()), "nominal budget (tokens per KV head)")
        save(figure, stem)


def _panel(panel: Axes, cells: pd.DataFrame) -> None:
    budgets = sorted(set(cells["budget"]) - {0})
    panel.plot(budgets, budgets, color="#BBBBBB", linewidth=3.0, label="as asked", zorder=1)
    for index, label in enumerate(method_order(cells["policy"])):
        rows, style = cells[cells["policy"] == label].sort_values("budget"), look(label, index)
        if label == "fullkv":
            prompt = rows["prompt_tokens"].iloc[0]
            panel.axhline(prompt, color=style.color, linestyle="--", linewidth=1.0, label="whole prompt")
            continue
        panel.plot(
            rows["budget"],
            rows["kept_tokens"],
            color=style.color,
            marker=style.marker,
            linestyle=style.line,
            label=style.label,
            zorder=3 if label == "sparsemm" else 2,
        )
    log2_ticks(panel, budgets)
    low = min(budgets[0], cells.loc[cells["budget"] > 0, "kept_tokens"].min()) / 1.2
    high = 1.15 * max(budgets[-1], cells["kept_tokens"].max())
    log2_ticks(panel, budgets, axis="y", apart=float(np.log2(high / low)) / 14)
    panel.set_ylim(low, high)
