"""Emergence: text score against visual score of every head, and transcripts with the best heads of both masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsemm.reporting.agreement import BASE, Ranking, of_model
from sparsemm.reporting.emergence import KINDS, READINGS, comparisons, masked, read_states, unknown
from sparsemm.reporting.figures.style import not_run, paper_style, root_ticks, save, say
from sparsemm.reporting.summary import Paths, as_paths, in_order, top_heads

_TOP = 0.1


def figure_emergence(
    scores: Paths,
    stem: str | Path,
    *,
    samples: Paths = (),
    text_scores: Paths = (),
    text_samples: Paths = (),
    masks: Paths = (),
    draws: int = 1000,
) -> None:
    """Write `<stem>.pdf` and `.png`: a row a model.

    Left: every head's score while the untouched language model reads the pages as text against its visual score, on
    square-root axes; the best tenth of both is filled. Then, a panel a reading: what is left of the transcript with
    visual, copying or random heads masked.

    Args:
        scores: files of kind scores, named <model>.parquet.
        stem: path of the figure without its suffix.
        samples: files of kind score_samples, named as the scores.
        text_scores: files of kind scores of heads that read text, named <reading>/<model>.parquet.
        text_samples: files of kind score_samples, named as these.
        masks: files of kind reading_masks, named <reading>/<model>.parquet.
        draws: resamples of the pages, and shuffles, for each pair of rankings.

    Raises:
        InputError: for a file that cannot be read.
    """
    if not as_paths(text_scores):
        not_run(stem, "no model that read text (emergence)")
        return
    rankings, layers = read_states(scores, samples, text_scores, text_samples)
    shown = [ranking for ranking in rankings if ranking.probe in (BASE, "base")]
    alike, cells = comparisons(shown, layers, draws=draws), masked(masks, without=unknown(rankings))
    models = in_order(ranking.model for ranking in rankings)
    readings = [name for name in READINGS if name in {path.parent.name for path in as_paths(masks)}]
    with paper_style():
        size = (2.6 + 1.9 * len(readings), 2.35 * len(models) + 0.35)
        figure = Figure(figsize=size, layout="constrained")
        widths = [1.35, *[1.0] * len(readings)]
        grid = figure.subplots(len(models), len(widths), squeeze=False, width_ratios=widths)
        for row, model in zip(grid, models):
            own = alike[(alike["model"] == model) & (alike["first"] == READINGS["base"])]
            _scatter(row[0], of_model(rankings, model), own[own["second"] == READINGS["image"]])
            if len(models) > 1:
                row[0].set_title(f"{model}\n", loc="left", fontweight="bold")
            for panel, reading in zip(row[1:], readings):
                _lines(panel, cells[(cells["model"] == model) & (cells["reading"] == reading)])
                panel.set_title(READINGS[reading])
            if readings:
                row[1].set_ylabel("transcript kept")
        handles: dict[str, Any] = {}
        below: Any = "outside lower right"
        for panel in grid[:, 1:].ravel():
            handles |= dict(zip(*reversed(panel.get_legend_handles_labels())))
        if handles:
            figure.legend(list(handles.values()), list(handles), loc=below, ncols=len(handles))
        save(figure, stem)


def _scatter(panel: Axes, rankings: list[Ranking], alike: pd.DataFrame) -> None:
    own = {ranking.probe: ranking for ranking in rankings}
    text, seen = own.get("base"), own.get(BASE)
    if text is None or seen is None:
        say(panel, "no scores of both")
        return
    if seen.uniform or text.uniform:
        say(panel, f"{seen.uniform or text.uniform}:\nevery head has\nthe same score")
        return
    top = top_heads(_TOP, len(text.scores))
    best = [set(np.argsort(-r.scores, kind="stable")[:top].tolist()) for r in (text, seen)]
    x, y = (100 * ranking.scores for ranking in (text, seen))
    for name, members, color, filled in (
        ("best tenth of both", best[0] & best[1], "#D55E00", True),
        ("of one alone", best[0] ^ best[1], "#0072B2", False),
        ("other heads", set(range(len(x))) - best[0] - best[1], "#9A9A9A", False),
    ):
        at = sorted(members)
        face = color if filled else "none"
        panel.scatter(
            x[at], y[at], s=14, color=face, edgecolors=color, linewidths=0.7, label=f"{name}: {len(at)}"
        )
    for axis, most in (("x", x.max()), ("y", y.max())):
        getattr(panel, f"set_{axis}scale")("function", functions=(_root, np.square))
        getattr(panel, f"set_{axis}lim")(-0.002 * most, 1.1 * most)
        getattr(panel, f"set_{axis}ticks")(root_ticks(most))
    panel.set_xlabel("score reading text (% of all)")
    panel.set_ylabel("visual score (% of all)")
    value = alike[alike["measure"] == "rank correlation"]
    if len(value):
        row = value.iloc[0]
        panel.set_title(f"rank corr. {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
    panel.legend(loc="upper left", fontsize=6.5, handletextpad=0.2, borderaxespad=0.1)


def _root(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))


def _lines(panel: Axes, cells: pd.DataFrame) -> None:
    if cells.empty:
        say(panel, "nothing is read")
        return
    panel.axhline(1.0, color="#000000", linestyle="--", linewidth=1.0, label="no mask")
    for kind, style in KINDS.items():
        rows = cells[cells["kind"] == kind].sort_values("fraction")
        x = 100 * rows["fraction"]
        panel.fill_between(x, rows["low"], rows["high"], color=style.color, alpha=0.15, linewidth=0)
        panel.plot(
            x, rows["kept"], color=style.color, marker=style.marker, linestyle=style.line, label=style.label
        )
    full = cells["full"].iloc[0]
    panel.text(
        0.97, 0.97, f"no mask: {full:.2f}", transform=panel.transAxes, ha="right", va="top", fontsize=6.5
    )
    panel.set_xlabel("heads masked (%)")
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0, top=max(1.15, float(cells["high"].max()) * 1.05))
