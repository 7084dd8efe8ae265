"""Figure 6: decode latency, peak memory and cache size against the length of the input."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter

from sparsemm.methods import look, method_order
from sparsemm.reporting.figures.style import foot, log2_ticks, panel_grid, paper_style, save
from sparsemm.reporting.summary import Paths, in_order, read_efficiency

_GIB, _MIB = 1024.0**3, 1024.0**2


def figure6(efficiency: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: one row of panels per model, against input tokens on a log2 axis.

    The panels: decode latency (ms per token); peak memory (GiB, of the process on a CPU, allocated on a GPU); K and V
    held after the prefill (MiB, log axis). Lines are medians over the repeats, bands reach from the smallest to the
    largest repeat.

    Args:
        efficiency: files of kind efficiency.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    frame = read_efficiency(efficiency)
    quantities = ("decode latency", "peak memory", "KV cache")
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
        label = f"input tokens (budget {_budgets(frame)} tokens per KV head)"
        foot(figure, list(axes.values()), label)
        save(figure, stem)


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
