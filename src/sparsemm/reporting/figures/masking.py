"""Figure 7: the score with visual heads masked, against that with random heads masked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sparsemm.methods import MASKS
from sparsemm.reporting.figures.style import (
    foot,
    in_first_column,
    not_run,
    panel_grid,
    paper_style,
    save,
    say,
)
from sparsemm.reporting.masked import relative_scores
from sparsemm.reporting.summary import Paths, as_paths, panels, part, read_masks


def figure7(
    masks: Paths, stem: str | Path, *, predictions: Paths = (), level: float = 0.95, draws: int = 2000
) -> None:
    """Write `<stem>.pdf` and `.png`: score with a share of the heads masked, relative to the score with none masked.

    Random heads are the mean over their seeds. Bands are bootstrap intervals over samples, and over seeds where there
    are several.

    Args:
        masks: files of kind masks, which include the run without a mask (kind "none").
        stem: path of the figure without its suffix.
        predictions: files of kind predictions; they say which samples share an image.
        level: of the intervals.
        draws: resamples of the bootstrap.

    Raises:
        InputError: for a file that cannot be read, and for a benchmark without the unmasked run.
    """
    if not as_paths(masks):
        not_run(stem, "no benchmark with masked heads")
        return
    frame = read_masks(masks, predictions)
    with paper_style():
        figure, axes = panel_grid(panels(frame), width=2.3)
        for (model, benchmark), panel in axes.items():
            rows = part(frame, model, benchmark)
            if rows["score"].isna().all():
                say(panel, f"no score:\n{rows['metric'].iloc[0]} is\nof a whole run")
                continue
            curves = relative_scores(rows, f"{model}, {benchmark}", level, draws)
            _panel(panel, curves)
            if in_first_column(panel):
                panel.set_ylabel("relative score")
        foot(figure, list(axes.values()), "heads masked (%)")
        save(figure, stem)


def _panel(panel: Axes, curves: dict[str, pd.DataFrame]) -> None:
    panel.axhline(1.0, color="#000000", linestyle="--", linewidth=1.0, label="no mask")
    if not curves:
        panel.text(0.5, 0.5, "score without mask is 0", transform=panel.transAxes, ha="center")
    for kind, curve in curves.items():
        style = MASKS[kind]
        x = np.concatenate([[0.0], curve["fraction"].to_numpy() * 100])
        ratio, low, high = (np.concatenate([[1.0], curve[name]]) for name in ("ratio", "low", "high"))
        panel.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0)
        panel.plot(x, ratio, color=style.color, marker=style.marker, linestyle=style.line, label=style.label)
    panel.set_ylim(bottom=0)
