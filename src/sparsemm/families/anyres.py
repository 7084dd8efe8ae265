"""The layout of images in LLaVA-NeXT and LLaVA-OneVision: the image resized to one tile, then a grid of tiles.

First the base image: the whole image resized to one tile, n x n tokens, row-major, no newline. Then the high-res grid:
the image is resized to the best of a few resolutions with its aspect kept, padded symmetrically and cut into tiles; the
tiles' features are joined, rows or columns of padding are cropped, and a newline token ends every row.

A tile need not be a whole number of patches (SigLIP: 384 px, 27 patches of 14 px): the vision tower drops the
remainder. The processor pads in pixels and rounds up; the model crops in feature rows and rounds down. The two do not
cancel, so the map keeps both offsets and calculates in exact fractions.
Sources: ``LlavaNextImageProcessorPil.get_image_patches`` and ``LlavaNextModel.pack_image_features``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from sparsemm.documents.boxes import check_image_size
from sparsemm.families.layout import Axis, Layout, ShrunkAxis, View


class AnyresLayout(Layout):
    """Base image, then high-res grid with newlines.

    Args:
        geometry: tile px, patch px and the (h, w) resolutions.
        image_size: (H, W) of the original image in px.
        most_tiles: a high-res grid with more than 1.21 times the tokens of so many tiles is shrunk to about that.
    """

    def __init__(
        self,
        geometry: tuple[int, int, list[list[int]]],
        image_size: Sequence[int],
        most_tiles: int | None = None,
    ) -> None:
        from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
        from transformers.image_utils import ChannelDimension

        size = check_image_size(image_size)
        tile, patch, pinpoints = geometry
        height, width = size
        side = tile // patch
        best_h, best_w = select_best_resolution((height, width), pinpoints)
        stub = np.broadcast_to(np.uint8(0), (1, height, width))  # has the shape, takes one byte
        new_h, new_w = get_patch_output_size(stub, (best_h, best_w), ChannelDimension.FIRST)  # type: ignore[no-untyped-call]
        rows, cols = best_h // tile * side, best_w // tile * side
        cut_h, cut_w = _cropped(rows, cols, height, width)
        base_rows = Axis(Fraction(tile, height), 0, patch, side)
        base_cols = Axis(Fraction(tile, width), 0, patch, side)
        pad_h, pad_w = (best_h - new_h) // 2, (best_w - new_w) // 2
        fine_rows = Axis(Fraction(new_h, height), pad_h, patch, rows - 2 * cut_h, tile, cut_h)
        fine_cols = Axis(Fraction(new_w, width), pad_w, patch, cols - 2 * cut_w, tile, cut_w)
        high_rows: Axis | ShrunkAxis = fine_rows
        high_cols: Axis | ShrunkAxis = fine_cols
        if most_tiles is not None:
            ratio = math.sqrt(fine_rows.count * fine_cols.count / (most_tiles * side**2))
            if ratio > 1.1:  # the model's own number
                high_rows = ShrunkAxis(fine_rows, int(fine_rows.count // ratio))
                high_cols = ShrunkAxis(fine_cols, int(fine_cols.count // ratio))
        self.base_grid = side, side  # (rows, cols) of the base image's tokens
        self.base_tokens = side * side
        step = high_cols.count + 1  # the newline
        super().__init__(
            size,
            [
                View(base_rows, base_cols, 0, side, corner=None),
                View(high_rows, high_cols, self.base_tokens, step),
            ],
            self.base_tokens + high_rows.count * step,
        )


def _cropped(rows: int, cols: int, height: int, width: int) -> tuple[int, int]:
    """Feature rows and columns that ``unpad_image`` cuts from each side of a stitched grid."""
    if width / height > cols / rows:
        return (rows - int(round(height * (cols / width), 7))) // 2, 0
    return 0, (cols - int(round(width * (rows / height), 7))) // 2
