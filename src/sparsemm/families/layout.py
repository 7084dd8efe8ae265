"""Pixel box -> image tokens -> prompt positions, exact at any image size, for every family.

A model gets an image in one or more views: the whole image resized to one tile, a grid of tiles, the image resized to
whole patches. Each view is a row-major grid of tokens over the scaled and shifted image, so the pixels of a token
follow by arithmetic, in exact fractions. A family's file defines its views and the order of their tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsemm.documents.boxes import Box, check_box
from sparsemm.errors import InputError
from sparsemm.methods import CONVENTIONS


@dataclass(frozen=True)
class Axis:
    """One axis of a token grid: ``count`` tokens of ``patch`` px on the image's x * scale + shift.

    With ``tile`` px patches start again in each tile; pixels after a tile's last whole patch belong to no token.
    ``skip`` tokens before the first are cropped.
    """

    scale: Fraction
    shift: int
    patch: int
    count: int
    tile: int | None = None
    skip: int = 0

    def span(self, low: float, high: float) -> range:
        """Tokens whose pixels overlap [low, high) of the image with positive length."""
        first = self._tokens(low, math.floor)
        last = self._tokens(high, math.ceil)
        return range(max(first - self.skip, 0), min(last - self.skip, self.count))

    def _tokens(self, at: float, whole: Callable[[Fraction], int]) -> int:
        """The number of tokens before the image's pixel ``at``, cropped ones included."""
        pixel = Fraction(at) * self.scale + self.shift
        if self.tile is None:
            return whole(pixel / self.patch)
        tile, rest = divmod(pixel, self.tile)
        side = self.tile // self.patch
        return tile * side + min(whole(rest / self.patch), side)

    def pixels(self, index: int) -> tuple[float, float]:
        """The image pixels [low, high) that token ``index`` covers; outside the image for padding."""
        start = (index + self.skip) * self.patch
        if self.tile is not None:
            tile, rest = divmod(index + self.skip, self.tile // self.patch)
            start = tile * self.tile + rest * self.patch
        low, high = (Fraction(edge - self.shift) / self.scale for edge in (start, start + self.patch))
        return float(low), float(high)


@dataclass(frozen=True)
class ShrunkAxis:
    """An axis whose tokens are interpolated from one or two neighbouring tokens of a finer axis.

    Bilinear with ``align_corners=False``: token i is at (i + 1/2) * fine / count - 1/2 of the finer axis.
    """

    fine: Axis
    count: int

    def _sources(self, index: int) -> tuple[int, int]:
        """The first and the last finer token with a weight in token ``index``."""
        at = max(
            Fraction(2 * index + 1, 2) * Fraction(self.fine.count, self.count) - Fraction(1, 2), Fraction(0)
        )
        return math.floor(at), min(math.ceil(at), self.fine.count - 1)

    def span(self, low: float, high: float) -> range:
        """Tokens whose pixels overlap [low, high) of the image with positive length."""
        seen = self.fine.span(low, high)
        found = [i for i in range(self.count) if seen and self._overlaps(i, seen)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def _overlaps(self, index: int, seen: range) -> bool:
        first, last = self._sources(index)
        return first < seen.stop and last >= seen.start

    def pixels(self, index: int) -> tuple[float, float]:
        """The image pixels [low, high) that token ``index`` covers."""
        first, last = self._sources(index)
        return self.fine.pixels(first)[0], self.fine.pixels(last)[1]


@dataclass(frozen=True)
class View:
    """A grid of tokens over the image: token (r, c) is number ``start + r * step + c`` of the image's tokens.

    ``corner`` is the view's first (row, col) in the layout's grid; None for a view of the whole image at low
    resolution that only the convention ``all`` counts.
    """

    rows: Axis | ShrunkAxis
    cols: Axis | ShrunkAxis
    start: int
    step: int
    corner: tuple[int, int] | None = (0, 0)

    def find(self, token: int) -> tuple[int, int] | None:
        """(row, col) of an image token in this view; None for a newline and for tokens of other views."""
        row, col = divmod(token - self.start, self.step)
        return (row, col) if 0 <= row < self.rows.count and col < self.cols.count else None


class Layout:
    """The pixels that each image token of one image covers, and its position in the prompt.

    Token indexes count the image tokens of the image, 0 .. num_tokens - 1, in the order of the prompt.

    Attributes:
        image_size: (H, W) of the original image in px.
        views: the grids of tokens of the image.
        num_tokens: image tokens in the prompt, newlines included.
        grid: (rows, cols) of the finest view; tiles are joined, newlines left out.
    """

    def __init__(self, image_size: tuple[int, int], views: Sequence[View], num_tokens: int) -> None:
        self.image_size = image_size
        self.views = tuple(views)
        self.num_tokens = num_tokens
        placed = [(view, view.corner) for view in self.views if view.corner is not None]
        self.grid = (
            max(corner[0] + view.rows.count for view, corner in placed),
            max(corner[1] + view.cols.count for view, corner in placed),
        )

    def tokens(self, box: Box, convention: str = "released") -> list[int]:
        """Sorted indexes of the image tokens whose pixels overlap ``box`` with positive area.

        Args:
            box: (x0, y0, x1, y1) in px of the original image.
            convention: ``released`` counts the finest view only, ``all`` also the whole image at low resolution,
                where the family has such a view.

        Returns:
            The indexes; empty for a box inside a strip that the model crops.

        Raises:
            InputError: for an unknown convention or a box outside the image.
        """
        if convention not in CONVENTIONS:
            raise InputError(f"convention {convention!r} is unknown: use one of {', '.join(CONVENTIONS)}")
        check_box(box, self.image_size)
        x0, y0, x1, y1 = (float(v) for v in box)
        return sorted(
            view.start + row * view.step + col
            for view in self.views
            if convention == "all" or view.corner is not None
            for row in view.rows.span(y0, y1)
            for col in view.cols.span(x0, x1)
        )

    def cell(self, token: int) -> tuple[int, int] | None:
        """(row, col) of ``token`` in ``grid``; None for a newline and for views at low resolution."""
        view, found = self._find(token)
        if found is None or view is None or view.corner is None:
            return None
        return view.corner[0] + found[0], view.corner[1] + found[1]

    def pixels(self, token: int) -> tuple[float, float, float, float] | None:
        """Image pixels (x0, y0, x1, y1) that ``token`` covers, padding included; None for a newline token."""
        view, found = self._find(token)
        if found is None or view is None:
            return None
        (y0, y1), (x0, x1) = view.rows.pixels(found[0]), view.cols.pixels(found[1])
        return x0, y0, x1, y1

    def _find(self, token: int) -> tuple[View | None, tuple[int, int] | None]:
        """The view of a token and its (row, col) in it."""
        if not 0 <= token < self.num_tokens:
            raise InputError(f"image token {token}: the image has tokens 0 to {self.num_tokens - 1}")
        hits = ((view, view.find(token)) for view in self.views)
        return next(((view, found) for view, found in hits if found is not None), (None, None))

    def grid_values(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """One value per image token [num_tokens] -> the finest view [rows, cols]."""
        array = np.asarray(values, dtype=np.float64)
        assert array.shape == (self.num_tokens,), f"{array.shape} is not ({self.num_tokens},)"
        made = np.zeros(self.grid)
        for view in self.views:
            if view.corner is not None:
                (row, col), high, wide = view.corner, view.rows.count, view.cols.count
                at = view.start + np.arange(high)[:, None] * view.step + np.arange(wide)
                made[row : row + high, col : col + wide] = array[at]
        return made

    def positions(self, input_ids: Any, image_token_id: int) -> npt.NDArray[np.int64]:
        """Prompt position of every image token [num_tokens] in one row of ids [T], pads included.

        Raises:
            InputError: if the row does not hold exactly this image's tokens.
        """
        found = np.flatnonzero(np.asarray(input_ids) == image_token_id)
        if len(found) != self.num_tokens:
            height, width = self.image_size
            raise InputError(
                f"prompt: {len(found)} image tokens where a {width} x {height} px image has "
                f"{self.num_tokens}; give one image per prompt, made by the same processor"
            )
        return found
