"""Score recipes compared: rank correlation of every recipe with the loss of masked heads, and what each choice adds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsemm.reporting.figures.style import not_run, paper_style, save
from sparsemm.reporting.recipes import PAPERS, PARTS, effects, read_predictions_of_losses, recipe_rows
from sparsemm.reporting.summary import Paths, as_paths

_WORDS = {"tokens": "1 / tokens", "plain": "plain hits", "argmax": "peak", "mass": "mass"}
_GRIDS = {"released": "", "all": ", small image too"}
_COLORS = {"argmax": "#D55E00", "mass": "#0072B2"}


def figure_recipes(recipes: Paths, losses: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: a row a model, its recipes from best to worst, and the mean effect of each choice.

    Args:
        recipes: files of kind recipes, named <model>.parquet.
        losses: files of kind head_losses, named as these.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    found = read_predictions_of_losses(recipes, losses) if as_paths(recipes) else []
    if not found:
        not_run(stem, "no recipes of scores compared (recipes)")
        return
    numbers, choices = recipe_rows(found), effects(found)
    with paper_style():
        height = sum(0.6 + 0.14 * len(each.recipes) for each in found)
        figure = Figure(figsize=(9.0, height), layout="constrained")
        grid = figure.subplots(len(found), 2, squeeze=False, width_ratios=[1.6, 1.0])
        for row, each in zip(grid, found):
            _recipes(row[0], numbers[numbers["model"] == each.model])
            _effects(row[1], choices[choices["model"] == each.model])
            row[0].set_title(f"{each.model}, {each.groups} groups of heads", loc="left", fontweight="bold")
        save(figure, stem)


def _recipes(panel: Axes, rows: pd.DataFrame) -> None:
    ordered = rows.sort_values("value", kind="stable").reset_index(drop=True)
    labels = []
    for index, row in ordered.iterrows():
        papers = tuple(row[part] for part in PARTS) == PAPERS
        color = _COLORS[row["measure"]]
        panel.plot([row["low"], row["high"]], [index, index], color=color, linewidth=1.0)
        face = color if row["weight"] == "tokens" else "white"
        panel.plot(row["value"], index, marker="o", color=color, markerfacecolor=face, markersize=4)
        labels.append(
            f"{row['matching']}, {_WORDS[row['measure']]}, {_WORDS[row['weight']]}{_GRIDS[row['grid']]}"
            + (" (the paper's)" if papers else "")
        )
    panel.set_yticks(range(len(labels)), labels, fontsize=6.5)
    panel.set_ylim(-0.7, len(labels) - 0.3)
    panel.set_xlabel("rank correlation with the loss")


def _effects(panel: Axes, rows: pd.DataFrame) -> None:
    panel.axvline(0.0, color="#000000", linestyle="--", linewidth=1.0)
    for index, row in enumerate(rows.to_dict("records")):
        at = len(rows) - 1 - index
        panel.plot([row["low"], row["high"]], [at, at], color="#444444", linewidth=1.2)
        panel.plot(row["effect"], at, marker="D", color="#444444")
    panel.set_yticks(range(len(rows)), list(rows["choice"])[::-1])
    panel.yaxis.tick_right()
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.set_xlabel("mean effect of a choice")
