"""The cells of a page as the explorer shows it: blocks of image tokens of the finest view, as many as stay small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsemm.families.layout import Layout
from sparsemm.heads.patch_map import locate_image
from sparsemm.heads.probe import ProbeImage

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ViewCells:
    """Blocks of ``block`` x ``block`` image tokens of the finest view; those at the right and lower edge may be less.

    Attributes:
        positions: int64 [rows, cols], the prompt position of each image token of the finest view.
        image: int64 [n], the prompt positions of all image tokens, other views and newlines included.
        block: image tokens along a side of a cell.
        row_edges, col_edges: float64 [cells + 1] of an axis, px of the image.
    """

    positions: Ints
    image: Ints
    block: int
    row_edges: npt.NDArray[np.float64]
    col_edges: npt.NDArray[np.float64]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return len(self.row_edges) - 1, len(self.col_edges) - 1

    def sums(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Values of the view's tokens [..., rows * cols] added up per cell: [..., cell rows, cell cols]."""
        made: npt.NDArray[np.float32] = self._blocks(values, 0).sum(axis=(-3, -1))
        return made

    def least(self, values: Ints) -> Ints:
        """The least of the values [..., rows * cols] in each cell: [..., cell rows, cell cols]."""
        made: Ints = self._blocks(values, np.iinfo(np.int64).max).min(axis=(-3, -1))
        return made

    def _blocks(self, values: Any, filler: int) -> Any:
        """[..., rows * cols] -> [..., cell rows, block, cell cols, block], with `filler` beyond the edges."""
        (high, wide), (rows, cols) = self.positions.shape, self.grid
        grid = values.reshape(*values.shape[:-1], high, wide)
        spare = [(0, rows * self.block - high), (0, cols * self.block - wide)]
        padded = np.pad(grid, [(0, 0)] * (grid.ndim - 2) + spare, constant_values=filler)
        return padded.reshape(*padded.shape[:-2], rows, self.block, cols, self.block)


def view_cells(processor: Any, item: ProbeImage, ids: Any, most: int) -> ViewCells:
    """The cells of a probe image, at most ``most`` of them, for the ids [T] of its unpadded prompt.

    Raises:
        InputError: the prompt does not hold exactly the tokens of this image.
    """
    layout, positions = locate_image(processor, item, ids)
    tokens = np.rint(layout.grid_values(np.arange(layout.num_tokens))).astype(np.int64)
    high, wide = tokens.shape
    block = next(
        size for size in range(1, max(high, wide) + 1) if -(-high // size) * -(-wide // size) <= most
    )
    rows, cols = _edges(layout, tokens[:, 0], 1, block), _edges(layout, tokens[0], 0, block)
    return ViewCells(positions[tokens], positions, block, rows, cols)


def _edges(layout: Layout, tokens: Ints, axis: int, block: int) -> npt.NDArray[np.float64]:
    """Where the cells along one axis begin and end, px; axis 0 is x, 1 is y."""
    pixels = [layout.pixels(int(token)) for token in tokens]
    starts = [box[axis] for box in pixels if box is not None]
    ends = [box[axis + 2] for box in pixels if box is not None]
    size = layout.image_size[1 - axis]
    edges = np.array([starts[0], *ends[block - 1 : -1 : block], ends[-1]], dtype=np.float64)
    return np.clip(edges, 0.0, float(size))
