"""What all figures share: matplotlib settings, panels in a grid, legends, log2 axes, reproducible files.

pyplot is not used: figures do not depend on the caller's backend and are freed after they are saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from sparsemm.results.files import atomic_write

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # embedded TrueType, as journals ask for
    "ps.fonttype": 42,
    "savefig.dpi": 200,
    "image.interpolation": "nearest",
}


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Apply the settings of all figures inside the block; restore the caller's settings afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def save(figure: Figure, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `<stem>.png` atomically; the same figure gives the same bytes."""
    unstamped: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    for kind, metadata in unstamped.items():
        with atomic_write(f"{stem}.{kind}") as partial:
            figure.savefig(partial, format=kind, metadata=metadata)


def not_run(stem: str | Path, what: str) -> None:
    """Write a figure of which nothing has been run: one line that says so."""
    with paper_style():
        figure = Figure(figsize=(4.6, 1.0))
        figure.text(0.5, 0.5, f"not run: {what}", ha="center", va="center", fontsize=9, color="#444444")
        save(figure, stem)


def say(panel: Axes, text: str) -> None:
    """Leave a panel without data, with a text in its middle."""
    panel.set(xticks=[], yticks=[])
    panel.text(
        0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", fontsize=7, color="#444444"
    )


def panel_grid(
    names: Sequence[tuple[str, str]],
    *,
    columns: int = 4,
    width: float = 1.9,
    height: float = 1.75,
    least: float = 4.6,
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure with one panel per (model, benchmark).

    Each model starts a new row. A panel's title is its benchmark; with several models, the model's name stands above
    the first panel of its rows.

    Args:
        names: (model, benchmark) of each panel.
        columns: most panels in a row.
        width: of a panel, inches.
        height: of a panel, inches.
        least: smallest width of the figure, inches.

    Returns:
        The figure, and (model, benchmark) to its panel.
    """
    models = list(dict.fromkeys(model for model, _ in names))
    rows: list[list[tuple[str, str]]] = []
    for model in models:
        own = [name for name in names if name[0] == model]
        rows += [own[start : start + columns] for start in range(0, len(own), columns)]
    wide = max(len(row) for row in rows)
    size = (max(least, width * wide + 0.35), height * len(rows) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), wide, squeeze=False)
    axes: dict[tuple[str, str], Axes] = {}
    for index, row in enumerate(rows):
        for column in range(wide):
            panel = grid[index][column]
            if column >= len(row):
                panel.set_axis_off()
                continue
            axes[row[column]] = panel
            panel.set_title(row[column][1])
        first = index == 0 or rows[index - 1][0][0] != row[0][0]
        if len(models) > 1 and first:
            panel = grid[index][0]
            panel.set_title(f"{row[0][0]}\n", loc="left", fontweight="bold")
    return figure, axes


def in_first_column(panel: Axes) -> bool:
    """Whether the panel is in the first column, where the row's y label stands."""
    spec = panel.get_subplotspec()
    return spec is None or spec.is_first_col()


def foot(figure: Figure, axes: Sequence[Axes], label: str) -> None:
    """Add, below all panels of a `panel_grid`, the label of their x axes and one legend of all their lines."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    inches = figure.get_size_inches()
    # An entry takes about 0.95 inch; in narrow figures the legend has two lines.
    count = len(handles) if len(handles) * 0.95 < inches[0] else (len(handles) + 1) // 2
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=count,
        columnspacing=1.3,
        handlelength=2.2,
        borderaxespad=0.2,
    )
    lines = -(-len(handles) // count)
    bottom = 0.1 + 0.16 * lines  # height of the legend, inches
    figure.text(0.5, (bottom + 0.03) / inches[1], label, ha="center", va="bottom", fontsize=8)
    engine: Any = figure.get_layout_engine()
    # Constrained layout reserves no space for legends and texts of the figure.
    share = (bottom + 0.2) / inches[1]
    engine.set(rect=(0.0, share, 1.0, 1.0 - share), w_pad=0.04, h_pad=0.04)


def log2_ticks(axes: Axes, values: Sequence[int], *, axis: str = "x", apart: float = 0.0) -> None:
    """Make an axis log2 and label `values` on it: 64, 2K, 32K.

    Args:
        axes: the panel.
        values: in increasing order.
        axis: "x" or "y".
        apart: smallest distance of two labels, in octaves; values closer to the label before get none.
    """
    kept: list[int] = []
    for value in values:
        if not kept or value / kept[-1] >= 2.0**apart:
            kept.append(value)
    values = kept
    target = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log", base=2)
    target.set_major_locator(FixedLocator([float(value) for value in values]))
    target.set_minor_locator(NullLocator())
    target.set_ticklabels([short(value) for value in values])


def root_ticks(most: float, *, apart: float = 0.16) -> list[float]:
    """0 and round numbers up to `most`, at least `apart` of a square-root axis from each other."""
    rounds = [base * 10.0**power for power in range(-4, 3) for base in (1, 2, 5)]
    found = [0.0]
    for value in rounds:
        if value <= most and (value / most) ** 0.5 - (found[-1] / most) ** 0.5 >= apart:
            found.append(value)
    return found


def short(value: int) -> str:
    """2048 as "2K"; other numbers as they are."""
    return f"{value // 1024}K" if value >= 1024 and value % 1024 == 0 else str(value)
