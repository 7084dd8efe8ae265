"""The patch map's figure: the words of a probe page and the image tokens that cover them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.reporting.figures.pictures import read_picture, show_picture
from sparsemm.reporting.figures.style import paper_style, save
from sparsemm.reporting.summary import Paths, as_paths
from sparsemm.results.parquet import read_table

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # of the words, in turn
_CURE = "make the patch map again from this run's probe set"


def figure_patches(patches: Paths, probe: Paths, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`, one row per model: a probe page with its words, and one word close up.

    The page is the first of the patch map. Left: word boxes are outlined, the grid cells of the image tokens that cover
    them are filled. Neighbouring words have different colours; a cell that two words share has both. Right: the word
    with the median number of image tokens, whose cells show the token's index.

    Args:
        patches: files of kind patches, named <model>.parquet.
        probe: files of kind probe that the patch maps were made from.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file or image that cannot be read, and for a patch map without its probe page.
    """
    maps = {path.stem: _first_page(path) for path in as_paths(patches)}
    if not maps:
        raise InputError("no patches files given: run the stage that makes the patch maps")
    pages = [read_table(path, "probe") for path in as_paths(probe)]
    if not pages:
        raise InputError("no probe files given: run the probe stage")
    pictures = {model: _picture(words, pages, model) for model, words in maps.items()}
    heights = [
        3.5 * min(1.6, max(0.5, image.shape[0] / image.shape[1])) + 0.35 for image in pictures.values()
    ]
    with paper_style():
        figure = Figure(figsize=(7.2, sum(heights) + 0.25), layout="constrained")
        grid = figure.subplots(len(maps), 2, squeeze=False, height_ratios=heights)
        for (page, close), (model, words) in zip(grid, maps.items()):
            _page(page, pictures[model], words)
            page.set_title(f"{model}: probe image {words['image'].iloc[0]}", parse_math=False)
            _close_up(close, pictures[model], words)
        _legend(figure)
        save(figure, stem)


def _first_page(path: Path) -> pd.DataFrame:
    """The words of the patch map's first image."""
    columns = ["image", "index", "word", "box", "image_tokens", "cells"]
    frame = read_table(path, "patches", columns)
    if frame.empty:
        raise InputError(f"{path}: the patch map has no words; {_CURE}")
    words = frame[frame["image"] == frame["image"].iloc[0]]
    for row in words.itertuples():
        if len(row.image_tokens) != len(row.cells) or any(len(cell) != 4 for cell in (row.box, *row.cells)):
            raise InputError(
                f"{path}: image {row.image}, word {row.index}: not one cell per image token; {_CURE}"
            )
    return words


def _picture(words: pd.DataFrame, pages: Sequence[pd.DataFrame], model: str) -> NDArray[np.uint8]:
    """The image of the probe page that has these words in these boxes."""
    name = words["image"].iloc[0]
    for frame in pages:
        for page in frame[frame["id"] == name].itertuples():
            boxes = dict(enumerate(zip(page.words, map(list, page.boxes))))
            if all(boxes.get(row.index) == (row.word, list(row.box)) for row in words.itertuples()):
                return read_picture(page.image, f"probe image {name}", "make the probe set again")
    raise InputError(
        f"patch map of {model}: no probe file has image {name} with these words and boxes; {_CURE}"
    )


def _page(panel: Axes, picture: NDArray[np.uint8], words: pd.DataFrame) -> None:
    """The page, faded, with the cells and boxes of all its words."""
    show_picture(panel, 255 - (255 - picture) // 3 * 2)
    for row in words.itertuples():
        color = _COLORS[row.index % len(_COLORS)]
        cells = [_rectangle(cell) for cell in row.cells]
        panel.add_collection(PatchCollection(cells, facecolor=color, edgecolor="none", alpha=0.35))
        panel.add_collection(PatchCollection(cells, facecolor="none", edgecolor=color, linewidth=0.3))
        panel.add_patch(_rectangle(row.box, facecolor="none", edgecolor=color, linewidth=1.1, zorder=3))


def _close_up(panel: Axes, picture: NDArray[np.uint8], words: pd.DataFrame) -> None:
    """The part of the page around one word, its cells numbered."""
    _page(panel, picture, words)
    by_count = sorted(words.to_dict("records"), key=lambda row: len(row["cells"]))
    row = by_count[len(by_count) // 2]
    left, right, top, bottom = _part(picture, np.array([row["box"], *row["cells"]]))
    panel.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
    points = 230 / (right - left)  # of the panel per pixel of the page, about
    for token, (x0, y0, x1, _) in zip(row["image_tokens"], row["cells"]):
        size = min(7.0, 0.45 * points * (x1 - x0))
        if size >= 3:  # smaller numbers cannot be read
            space = 0.06 * (x1 - x0) - 0.5
            number = panel.text(x0 + space, y0 + space, str(token), va="top", fontsize=size, clip_on=True)
            number.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
    panel.set_title(
        f'word {row["index"]}, "{row["word"]}": {len(row["cells"])} image tokens', parse_math=False
    )


def _part(picture: NDArray[np.uint8], ends: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """left, right, top, bottom (px) of a part of the page around rectangles [N, 4], of the page's own shape."""
    (height, width), low, high = picture.shape[:2], ends[:, :2].min(axis=0), ends[:, 2:].max(axis=0)
    share = min(1.0, 1.6 * max((high[0] - low[0]) / width, (high[1] - low[1]) / height))
    sides = []
    for length, start, end in zip((width, height), low, high):
        first = min(max((start + end - share * length) / 2, 0.0), length * (1 - share))
        sides += [float(first), float(first + share * length)]
    return sides[0], sides[1], sides[2], sides[3]


def _rectangle(ends: Sequence[float], **style: Any) -> Rectangle:
    """The rectangle x0, y0, x1, y1 in px, where pixel 0 is drawn from -0.5 to 0.5."""
    x0, y0, x1, y1 = ends
    return Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, **style)


def _legend(figure: Figure) -> None:
    """What outlines and fillings mean, below the panels."""
    box = Patch(facecolor="none", edgecolor=_COLORS[0], linewidth=1.1, label="box of a word")
    cells = Patch(facecolor=_COLORS[0], alpha=0.35, label="image tokens that cover it")
    figure.legend(handles=[box, cells], loc="outside lower center", ncols=2, borderaxespad=0.2)
