"""Figure 6: decode latency, peak memory and cache size against the length of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter

from sparsemm.methods import look, method_order
from sparsemm.reporting import paper_values
from sparsemm.reporting.figures.style import foot, log2_ticks, panel_grid, paper_style, save
from sparsemm.reporting.summary import Paths, in_order, read_efficiency

_GIB, _MIB = 1024.0**3, 1024.0**2
# Panels for which the paper has values -> their column.
_PAPER = {"decode latency": "decode_ms_per_token", "peak memory": "peak_gb"}


def figure6(efficiency: Paths, stem: str | Path, *, paper: str | Path | None = None) -> None:
    """Write `<stem>.pdf` and `.png`: one row of panels per model, against input tokens on a log2 axis.

    The panels: decode latency (ms per token); peak memory (GiB, of the process on a CPU, allocated on a GPU); K and V
    held after the prefill (MiB, log axis). Lines are medians over the repeats, bands reach from the smallest to the
    largest repeat. Faint open markers are the paper's values, read off its figure, where the model is one of its own.

    Args:
        efficiency: files of kind efficiency.
        stem: path of the figure without its suffix.
        paper: data/paper/figure6_efficiency.csv.

    Raises:
        InputError: for a file that cannot be read.
    """
    frame = read_efficiency(efficiency)
    quantities = ("decode latency", "peak memory", "KV cache")
    theirs = None if paper is None else paper_values.efficiency(paper)
    names = [(model, quantity) for model in in_order(frame["model"]) for quantity in quantities]
    with paper_style():
        figure, axes = panel_grid(names, columns=3, width=2.2, height=1.95)
        for (model, quantity), panel in axes.items():
            rows = frame[frame["model"] == model]
            if quantity == "decode latency":
                _panel(panel, rows, rows["decode_ms_per_token"], "ms per token")
            elif quantity == "peak memory":
                gpu = (rows["device"] != "cpu").all()  # a GPU is given by its name
                _panel(
                    panel, rows, rows["peak_bytes"] / _GIB, "GiB allocated" if gpu else "GiB, whole process"
                )
            else:
                _panel(panel, rows, rows["cache_bytes"] / _MIB, "MiB, K and V held", log=True)
            if theirs is not None and quantity in _PAPER:
                own = theirs[theirs["paper_model"] == paper_values.paper_name(model)]
                _paper_points(panel, own[own["policy"].isin(rows["policy"])], _PAPER[quantity])
        label = f"input tokens (budget {_budgets(frame)} tokens per KV head)"
        foot(figure, list(axes.values()), label)
        save(figure, stem)


def _paper_points(panel: Axes, rows: pd.DataFrame, value: str) -> None:
    """The paper's points, faint: they were measured on another device."""
    if rows.empty:
        return
    faint: dict[str, Any] = {
        "markerfacecolor": "none",
        "markersize": 5.0,
        "markeredgewidth": 0.8,
        "alpha": 0.55,
    }
    for index, label in enumerate(method_order(rows["policy"])):
        own, style = rows[rows["policy"] == label], look(label, index)
        panel.plot(
            own["input_tokens"],
            own[value],
            color=style.color,
            marker=style.marker or "o",
            linestyle="",
            **faint,
        )
    panel.plot([], [], color="#444444", marker="o", linestyle="", label="paper (read off)", **faint)
    low, high = panel.get_ylim()
    panel.set_ylim(low, max(high, 1.08 * float(rows[value].max())))
    log2_ticks(panel, sorted({*map(int, panel.xaxis.get_majorticklocs()), *rows["input_tokens"]}))


def _budgets(frame: pd.DataFrame) -> str:
    return ", ".join(str(budget) for budget in sorted(set(frame["budget"]) - {0})) or "none"


def _panel(panel: Axes, rows: pd.DataFrame, values: pd.Series, unit: str, *, log: bool = False) -> None:
    frame = rows.assign(value=values)
    for index, label in enumerate(method_order(frame["policy"])):
        style = look(label, index)
        seaborn.lineplot(
            frame[frame["policy"] == label],
            x="input_tokens",
            y="value",
            ax=panel,
            estimator="median",
            errorbar=("pi", 100),  # from the smallest to the largest repeat
            err_kws={"alpha": 0.18, "linewidth": 0},
            color=style.color,
            marker=style.marker or "x",
            markeredgecolor=style.color,
            linestyle=style.line,
            label=style.label,
            legend=False,
            zorder=3 if label == "sparsemm" else 2,
        )
    panel.set_xlabel("")
    log2_ticks(panel, sorted(set(frame["input_tokens"])))
    panel.set_ylabel(unit)
    if log:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    else:
        panel.set_ylim(0.0, 1.08 * float(values.max()))
