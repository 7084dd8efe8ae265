"""Figures 10 and 11: attention of visual heads and of other heads over an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.reporting.figures.pictures import read_picture, show_picture
from sparsemm.reporting.figures.style import not_run, paper_style, save
from sparsemm.reporting.summary import Paths, as_paths
from sparsemm.results.parquet import read_table


def figure10(maps: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: each image and the attention over it.

    Upper row: the heads with the highest visual scores. Lower row: the heads with the lowest. Colours show attention
    averaged over the generated tokens, scaled panel by panel from its smallest to its largest value.

    Args:
        maps: files of kind attention_maps, named <model>.parquet.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file or an image that cannot be read.
    """
    blocks = _blocks({path: path.stem for path in as_paths(maps)})
    if not blocks:
        raise InputError("no attention maps given: run the stage that makes them")
    _draw(blocks, stem)


def figure11(maps: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: as `figure10`, over images of further probe sets.

    The heads are those of the probe set: whether they are visual heads elsewhere too is what the figure shows.

    Args:
        maps: files of kind attention_maps, named <set>/<model>.parquet; none: the figure says so.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file or an image that cannot be read.
    """
    paths = as_paths(maps)
    several = len({path.stem for path in paths}) > 1
    names = {path: f"{path.parent.name}\n{path.stem}" if several else path.parent.name for path in paths}
    if not names:
        not_run(stem, "no further probe set")
        return
    _draw(_blocks(names), stem)


def _blocks(names: dict[Path, str]) -> list[tuple[str, pd.DataFrame]]:
    """The panels of each image of the files, with the name of the file."""
    return [
        (name, rows)
        for path, name in names.items()
        for _, rows in read_table(path, "attention_maps").groupby("image", sort=False)
    ]


def _draw(blocks: list[tuple[str, pd.DataFrame]], stem: str | Path) -> None:
    """Draw each image with its panels, one below the other."""
    wide = max((len(rows) + 1) // 2 for _, rows in blocks)
    pictures = [
        read_picture(rows["image"].iloc[0], f"attention maps of {model}", "make the maps again")
        for model, rows in blocks
    ]
    cell = 1.15  # inches
    ratios = [min(1.8, max(0.6, picture.shape[0] / picture.shape[1])) for picture in pictures]
    heights = [2 * (cell * ratio + 0.28) + 0.2 for ratio in ratios]
    with paper_style():
        figure = Figure(figsize=(cell * (2 + wide) + 0.5, sum(heights)), layout="constrained")
        parts: Any = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)
        for part, picture, (model, rows) in zip(parts[:, 0], pictures, blocks):
            _block(part, picture, rows, wide, model)
        save(figure, stem)


def _block(part: Any, picture: NDArray[np.uint8], rows: pd.DataFrame, wide: int, model: str) -> None:
    ordered = rows.sort_values(["score", "panel"], ascending=[False, True])
    half = (len(ordered) + 1) // 2
    grid = part.add_gridspec(2, 1 + wide, width_ratios=[2.05] + [1.0] * wide)
    image = part.add_subplot(grid[:, 0])
    show_picture(image, picture)
    image.set_title(model, fontsize=8)
    for line, (name, group) in enumerate(
        (("visual heads", ordered.iloc[:half]), ("other heads", ordered.iloc[half:]))
    ):
        for column, row in enumerate(group.itertuples()):
            panel = part.add_subplot(grid[line, 1 + column])
            show_picture(panel, picture)
            _overlay(
                panel, np.asarray(row.grid, dtype=np.float64), picture, f"layer {row.layer}, head {row.head}"
            )
            panel.set_title(
                f"layer {row.layer}, head {row.head}\nscore {row.score * 100:.1f} %", fontsize=6.5
            )
            if column == 0:
                panel.set_ylabel(name, fontsize=8)


def _overlay(panel: Axes, grid: NDArray[np.float64], picture: NDArray[np.uint8], where: str) -> None:
    if grid.ndim != 2 or grid.size == 0:
        raise InputError(f"attention map of {where}: the grid is not rows x columns; make the maps again")
    height, width = picture.shape[:2]
    spread = float(np.ptp(grid))
    shown = (grid - grid.min()) / spread if spread > 0 else np.zeros_like(grid)
    # Transparent where attention is low, so that the text of the image stays readable.
    panel.imshow(
        shown,
        cmap="inferno",
        alpha=0.25 + 0.6 * shown,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        vmin=0,
        vmax=1,
    )
