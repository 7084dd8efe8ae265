"""Which image tokens of one page a policy keeps: over the page, and head by head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparsemm.reporting.figures.style import paper_style
from sparsemm.results.files import atomic_write

SUFFIXES = (".png", ".pdf")
_HEIGHT = 4.6  # of the panels, inches


def figure_kept(
    path: str | Path,
    picture: NDArray[np.uint8],
    edges: tuple[NDArray[np.float64], NDArray[np.float64]],
    kept: NDArray[np.bool_],
    title: str,
) -> None:
    """Write the figure.

    Left: the page; the more KV heads keep a cell, the stronger its colour. Right: what every KV head keeps, a row a
    layer, a column a head.

    Args:
        path: of the figure, with a suffix of SUFFIXES.
        picture: uint8 [height, width, 3].
        edges: where the cells begin and end, px: [rows + 1] and [cols + 1].
        kept: bool [L, Hkv, rows, cols], whether a head keeps a cell.
        title: above both panels.
    """
    layers, heads, rows, cols = kept.shape
    rows_px, cols_px = edges
    wide = _HEIGHT * min(2.0, max(0.5, picture.shape[1] / picture.shape[0]))
    mosaic = np.zeros((layers * (rows + 1) + 1, heads * (cols + 1) + 1))  # 0: between heads
    for layer in range(layers):
        for head in range(heads):
            at = layer * (rows + 1) + 1, head * (cols + 1) + 1
            mosaic[at[0] : at[0] + rows, at[1] : at[1] + cols] = np.where(kept[layer, head], 2.0, 1.0)
    tall = mosaic.shape[0] / mosaic.shape[1]
    with paper_style():
        figure = Figure(figsize=(wide + min(7.0, _HEIGHT / tall) + 1.0, _HEIGHT + 0.8), layout="constrained")
        page, own = figure.subplots(1, 2, width_ratios=(wide, min(7.0, _HEIGHT / tall)))
        figure.suptitle(title, fontsize=9)
        page.imshow(picture)
        share = kept.mean(axis=(0, 1))
        overlay = np.zeros((rows, cols, 4))
        overlay[...] = (0.84, 0.37, 0.0, 1.0)
        overlay[..., 3] = 0.85 * share / max(share.max(), 1e-9)
        page.pcolorfast(cols_px, rows_px, overlay)
        page.set(xlim=(0, picture.shape[1]), ylim=(picture.shape[0], 0), xticks=[], yticks=[])
        page.set_title(f"kept by up to {int(kept.sum((0, 1)).max())} of {layers * heads} KV heads")
        own.imshow(mosaic, cmap=_colours(), vmin=0, vmax=2, aspect="auto", interpolation="nearest")
        own.set_xticks(np.arange(heads) * (cols + 1) + (cols + 1) / 2, [str(head) for head in range(heads)])
        own.set_yticks(np.arange(layers) * (rows + 1) + (rows + 1) / 2, [str(one) for one in range(layers)])
        own.tick_params(length=0)
        own.grid(visible=False)
        own.set(xlabel="KV head", ylabel="layer")
        own.set_title("kept by each")
        with atomic_write(path) as partial:
            figure.savefig(partial, format=Path(path).suffix[1:].lower())


def _colours() -> object:
    from matplotlib.colors import ListedColormap

    return ListedColormap(["#ffffff", "#e8ebee", "#d55e00"])
