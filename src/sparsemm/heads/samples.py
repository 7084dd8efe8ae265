"""What each probe image adds to the scores, scores of resampled probe sets, and scores brought to sum 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.stats import resample_counts

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeadSamples:
    """Per-image results of scoring.

    Attributes:
        image_ids: [N].
        hits: int64 [N, L, Hq], generated tokens whose attention peaks inside the tokens of their word.
        weights: float64 [N, L, Hq], the sum of 1 / |I| over the hits, I the image tokens that cover the word.
        matched: int64 [N], generated tokens that were matched to a word.
    """

    image_ids: tuple[str, ...]
    hits: Counts
    weights: Floats
    matched: Counts

    @property
    def means(self) -> Floats:
        """float64 [N, L, Hq]: weight per matched token of each image, 0 where no token matched."""
        per_token: Floats = self.weights / np.maximum(self.matched, 1)[:, None, None]
        return per_token


def resampled_scores(samples: HeadSamples, *, draws: int, seed: int) -> Floats:
    """Scores of ``draws`` bootstrap resamples of the images, each brought to sum 1: [draws, L, Hq]."""
    flat = samples.weights.reshape(len(samples.image_ids), -1)
    sums = np.concatenate([counts @ flat for counts in resample_counts(len(flat), draws=draws, seed=seed)])
    scores = sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    table: Floats = scores.reshape(draws, *samples.weights.shape[1:])
    return table


def normalised(values: Any) -> Floats:
    """Values [L, Hq] divided by their sum.

    Raises:
        InputError: no table, negative, not finite or all 0.
    """
    table = np.array(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"scores: shape {table.shape} is not [layers, query heads]: give a 2-D table")
    if not np.isfinite(table).all() or (table < 0).any():
        raise InputError("scores: NaN, infinite or negative values: score the heads again")
    total = float(table.sum())
    if total == 0.0:
        raise InputError("scores: every head has score 0: no attention hit was counted, check the probe set")
    # Scores that already sum to 1 keep their bits, so that a file loaded and saved has the same bytes.
    return table if abs(total - 1.0) < 1e-12 else table / total
