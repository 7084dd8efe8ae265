"""Figures 8 and 9: the visual heads found on each probe set, and the answers that they give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sparsemm.methods import look
from sparsemm.reporting.agreement import BASE, Ranking, agreements, of_model, read_rankings
from sparsemm.reporting.figures.heatmap import head_ticks
from sparsemm.reporting.figures.style import (
    foot,
    log2_ticks,
    not_run,
    panel_grid,
    paper_style,
    root_ticks,
    save,
    say,
)
from sparsemm.reporting.notes import why_uniform
from sparsemm.reporting.probe_answers import probe_cells
from sparsemm.reporting.summary import Paths, as_paths, in_order, panels, part
from sparsemm.results.parquet import read_table

_NONE = "no further probe set"
# Colours and markers of the further sets, in their order.
_LOOKS = (("#0072B2", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "P"), ("#56B4E9", "X"))
_TITLES = {BASE: "probe set"}


def figure8(
    scores: Paths,
    stem: str | Path,
    *,
    set_scores: Paths = (),
    samples: Paths = (),
    set_samples: Paths = (),
) -> None:
    """Write `<stem>.pdf` and `.png`: the score of every head from each probe set, one row per model.

    A row has the colour scale of its probe set. Above each further set stands how much it agrees with the probe set:
    rank correlation over all heads, and how many of the best tenth of the heads both have. Of a set of which a model
    read nothing, the panel says so.

    Args:
        scores: files of kind scores, named <model>.parquet.
        stem: path of the figure without its suffix.
        set_scores: the same of further probe sets, named <set>/<model>.parquet; none: the figure says so.
        samples: files of kind score_samples, named as the scores.
        set_samples: the same of further probe sets.

    Raises:
        InputError: for a file that cannot be read, and for samples whose heads differ from those of the scores.
    """
    if not as_paths(set_scores):
        not_run(stem, _NONE)
        return
    rankings = read_rankings(scores, set_scores, samples, set_samples)
    layers = {
        path.stem: int(read_table(path, "scores", ["layer"])["layer"].max()) + 1 for path in as_paths(scores)
    }
    table = agreements(rankings).set_index(["model", "probe"])
    models, sets = in_order(r.model for r in rankings), in_order(r.probe for r in rankings)
    with paper_style():
        size = (1.75 * len(sets) + 0.9, 2.0 * len(models) + 0.1)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(models), len(sets), squeeze=False)
        for row, model in zip(grid, models):
            own = {ranking.probe: ranking for ranking in of_model(rankings, model)}
            _heat_row(figure, row, [own.get(name) for name in sets], layers[model], table)
            row[0].set_ylabel(f"{model}\nlayer" if len(models) > 1 else "layer")
        save(figure, stem)


def _heat_row(
    figure: Figure, row: Sequence[Axes], rankings: Sequence[Ranking | None], layers: int, table: pd.DataFrame
) -> None:
    """One model's heat maps on the colour scale of the first that has one, the probe set's: a square root."""
    most = [float(r.scores.max()) for r in rankings if r is not None and not r.uniform]
    norm = PowerNorm(0.5, vmin=0, vmax=100 * (most[0] if most else 1.0), clip=True)
    shown: Any = None
    for panel, ranking in zip(row, rankings):
        if ranking is None:
            say(panel, "not scored")
            continue
        panel.set_title(_title(ranking, table))
        if ranking.uniform:
            say(panel, f"{ranking.uniform}:\nevery head has\nthe same score")
            continue
        grid = 100 * ranking.scores.reshape(layers, -1)
        shown = panel.imshow(grid, cmap="magma", norm=norm, aspect="auto", origin="lower")
        panel.grid(False)
        panel.set_xlabel("head")
        head_ticks(panel, grid.shape, offset=0.0)
    if shown is not None:
        beyond = "max" if max(most) > most[0] else "neither"
        label, ticks = "visual score (% of all)", root_ticks(100 * most[0])
        bar = figure.colorbar(
            shown, ax=list(row), label=label, extend=beyond, ticks=ticks, pad=0.01, fraction=0.03
        )
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])


def _title(ranking: Ranking, table: pd.DataFrame) -> str:
    name = _TITLES.get(ranking.probe, ranking.probe)
    if ranking.probe == BASE:
        return f"{name}\n"
    row = table.loc[ranking.model, ranking.probe]
    if row["uniform"]:
        return f"{name}\n"
    shared = round(row["overlap"] * row["top"])
    return f"{name}\nrank corr. {row['spearman']:.2f}, best {shared} of {row['top']}"


def figure9(
    predictions: Paths,
    stem: str | Path,
    *,
    run_scores: Paths = (),
    set_scores: Paths = (),
    level: float = 0.95,
) -> None:
    """Write `<stem>.pdf` and `.png`: SparseMM's score against the budget with the heads of each probe set.

    Grey: random heads' scores; dashed: the full cache. Bands are bootstrap intervals over samples.

    Args:
        predictions: files of kind predictions with labels "sparsemm[probe=...]".
        stem: path of the figure without its suffix.
        run_scores: files of kind run_scores.
        set_scores: files of kind scores of the further sets; a set of which a model read nothing is marked.
        level: of the intervals.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = probe_cells(predictions, run_scores, level=level)
    if cells.empty:
        not_run(stem, "no benchmark answered with the heads of further probe sets")
        return
    reasons = {(path.stem, path.parent.name): why_uniform(path) for path in as_paths(set_scores)}
    found = [name for name in in_order(cells["probe"]) if name and name != BASE]
    sets = in_order([name for _, name in reasons if name in found] + found)
    with paper_style():
        figure, axes = panel_grid(panels(cells), width=3.2, height=2.3)
        for (model, benchmark), panel in axes.items():
            own = part(cells, model, benchmark)
            if own["score"].isna().all():
                say(panel, f"no score:\n{own['metric'].iloc[0]} could\nnot be computed")
                continue
            _lines(panel, own, sets)
            lacking = [name for name in sets if reasons.get((model, name))]
            if lacking:
                note = f"all heads alike: {', '.join(lacking)}"
                panel.text(0.98, 0.03, note, transform=panel.transAxes, ha="right", fontsize=6.5)
        foot(figure, list(axes.values()), "KV-cache budget (tokens per KV head)")
        save(figure, stem)


def _lines(panel: Axes, cells: pd.DataFrame, sets: Sequence[str]) -> None:
    looks = {name: _LOOKS[index % len(_LOOKS)] for index, name in enumerate(sets)}
    for probe, policy in (
        (BASE, "sparsemm"),
        *((name, "") for name in sets),
        ("", "random_heads"),
        ("", "fullkv"),
    ):
        own = cells[cells["probe"] == probe]
        rows = (own[own["policy"] == policy] if not probe else own).sort_values("budget")
        if rows.empty:
            continue
        style = look(policy) if policy else None
        color, marker = (style.color, style.marker) if style else looks[probe]
        label = f"heads of {_TITLES.get(probe, probe)}" if probe else look(policy).label
        if policy == "fullkv":
            full = rows.iloc[0]
            panel.axhspan(full["ci_low"], full["ci_high"], color=color, alpha=0.07, linewidth=0)
            panel.axhline(full["score"], color=color, linestyle="--", linewidth=1.0, label=label)
            continue
        panel.fill_between(
            rows["budget"], rows["ci_low"], rows["ci_high"], color=color, alpha=0.12, linewidth=0
        )
        line = style.line if style else "-"
        panel.plot(rows["budget"], rows["score"], color=color, marker=marker, linestyle=line, label=label)
    log2_ticks(panel, sorted(set(cells["budget"]) - {0}))
    panel.set_ylabel(cells["metric"].iloc[0])
    low, high = panel.get_ylim()
    panel.set_ylim(0.0 if low < 0.15 else low, max(high, 0.1) if np.isfinite(high) else 1.0)
