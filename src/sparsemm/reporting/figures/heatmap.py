"""Figure 2: the visual score of every head, and the share of the score that the best heads hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.methods import look
from sparsemm.reporting.figures.style import paper_style, save
from sparsemm.reporting.notes import why_uniform
from sparsemm.reporting.summary import Paths, as_paths, top_heads
from sparsemm.results.parquet import read_table
from sparsemm.stats import bootstrap_means, interval

_COLOR = look("sparsemm").color


def figure2(scores: Paths, stem: str | Path, *, samples: Paths = ()) -> None:
    """Write `<stem>.pdf` and `.png`, one row per model: heat map, sorted scores, cumulative share.

    The sorted scores have the intervals of the scores file. Where nothing that a model read matched a word, its scores
    are uniform and its row says so.

    Args:
        scores: files of kind scores, named <model>.parquet.
        stem: path of the figure without its suffix.
        samples: files of kind score_samples with the same names. They give the cumulative share a bootstrap interval
            over images.

    Raises:
        InputError: for a file that cannot be read, and for samples whose heads differ from those of the scores.
    """
    paths = as_paths(scores)
    if not paths:
        raise InputError("no scores files given: run the scoring stage")
    of_model = {path.stem: path for path in as_paths(samples)}
    with paper_style():
        figure = Figure(figsize=(7.2, 2.25 * len(paths)), layout="constrained")
        grid = figure.subplots(len(paths), 3, squeeze=False, width_ratios=(1.25, 1, 1))
        for row, path in zip(grid, paths):
            frame, model = read_table(path, "scores"), path.stem
            _heat_map(row[0], frame, model)
            _sorted_scores(row[1], frame)
            uniform = why_uniform(path)
            _cumulative(row[2], frame, None if uniform else of_model.get(model))
            if uniform:
                said = f"{uniform}:\nevery head has the same score"
                row[1].text(
                    0.5, 0.5, said, transform=row[1].transAxes, ha="center", va="center", fontsize=6.5
                )
        save(figure, stem)


def _heat_map(panel: Axes, frame: pd.DataFrame, model: str) -> None:
    table = frame.pivot(index="layer", columns="head", values="score").to_numpy()
    # A square-root scale: on a linear one a few heads have all the contrast and the others are black.
    seaborn.heatmap(
        table * 100,
        ax=panel,
        cmap="magma",
        norm=PowerNorm(0.5, vmin=0),
        rasterized=True,
        cbar_kws={"label": "visual score (% of all)", "pad": 0.02},
    )
    panel.invert_yaxis()  # the first layer at the bottom
    for spine in panel.spines.values():
        spine.set_visible(True)
    panel.set_title(model)
    panel.set_xlabel("head")
    panel.set_ylabel("layer")
    head_ticks(panel, table.shape)


def head_ticks(panel: Axes, shape: tuple[int, ...], *, offset: float = 0.5) -> None:
    """At most eight numbers on each axis of a map of (layers, heads), whose cells have their middle at `offset`."""
    for axis, count in ((panel.xaxis, shape[1]), (panel.yaxis, shape[0])):
        shown = range(0, count, -(-count // 8))
        axis.set_ticks([index + offset for index in shown], [str(index) for index in shown], rotation=0)


def _sorted_scores(panel: Axes, frame: pd.DataFrame) -> None:
    rows = frame.sort_values(["score", "layer", "head"], ascending=[False, True, True])
    rank = np.arange(1, len(rows) + 1)
    panel.fill_between(
        rank, rows["ci_low"] * 100, rows["ci_high"] * 100, color=_COLOR, alpha=0.25, linewidth=0
    )
    few = len(rows) <= 128
    panel.plot(rank, rows["score"] * 100, color=_COLOR, marker="o" if few else "", markersize=2)
    panel.axhline(100 / len(rows), color="#000000", linestyle="--", linewidth=0.8, label="equal share")
    falls = rows["score"].iloc[0] > rows["score"].iloc[-1]
    panel.legend(loc="upper right" if falls else "lower left", fontsize=7)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_xlabel("head, by score (rank)")
    panel.set_ylabel("visual score (% of all)")
    panel.set_ylim(bottom=0)


def _cumulative(panel: Axes, frame: pd.DataFrame, samples: Path | None) -> None:
    order = frame["score"].to_numpy().argsort(kind="stable")[::-1]
    heads = np.arange(len(order) + 1) / len(order) * 100
    share = np.concatenate([[0.0], np.cumsum(frame["score"].to_numpy()[order])]) * 100
    if samples is not None:
        low, high = _share_interval(frame, samples, order)
        panel.fill_between(heads, low, high, color=_COLOR, alpha=0.25, linewidth=0)
    panel.plot(heads, share, color=_COLOR)
    panel.plot([0, 100], [0, 100], color="#000000", linestyle="--", linewidth=0.8)
    at = top_heads(0.1, len(order))
    label = f"{at} of {len(order)} heads: {share[at]:.0f} %"
    panel.plot([heads[at]], [share[at]], marker="o", color=_COLOR, linestyle="", label=label)
    panel.legend(loc="lower right", fontsize=7, handletextpad=0.2, borderaxespad=0.2)
    panel.set(xlabel="heads (%)", ylabel="cumulative share (%)", xlim=(0, 100), ylim=(0, 102))


def _share_interval(
    frame: pd.DataFrame, samples: Path, order: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap interval over images of the share of the score that the first n heads of `order` hold."""
    weights = read_table(samples, "score_samples").pivot(
        index="image_id", columns=["layer", "head"], values="weight"
    )
    heads = pd.MultiIndex.from_frame(frame[["layer", "head"]])
    if set(heads) != set(weights.columns) or weights.isna().to_numpy().any():
        raise InputError(f"{samples}: heads or images are missing; score the heads again")
    sums = np.cumsum(bootstrap_means(weights[heads].to_numpy()[:, order]), axis=1)
    sums = sums[sums[:, -1] > 0]
    if not len(sums):  # no head hit on any image: all have the same score
        sums = np.arange(1.0, sums.shape[1] + 1)[None]
    low, high = interval(np.column_stack([np.zeros(len(sums)), sums / sums[:, -1:]]) * 100)
    return low, high
