"""File formats of head scores: writes the published JSON; our result tables per head and per image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparsemm.errors import InputError
from sparsemm.heads.samples import Counts, Floats, HeadSamples
from sparsemm.results.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

SCORES_FILE = "head_scores.parquet"  # name of the scores in a model's folder
SAMPLES_FILE = "head_score_samples.parquet"


def write_json(path: Path, values: Floats) -> None:
    """Write scores [L, Hq] in the published format; the folder is made.

    Raises:
        InputError: the file cannot be written.
    """
    table = {f"{i}-{j}": [float(value)] for i, row in enumerate(values) for j, value in enumerate(row)}
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(table, indent=4) + "\n", encoding="utf-8")


def heads_frame(
    values: Floats, low: Floats, high: Floats, hits: Counts, matched: int, num_kv_heads: int
) -> pd.DataFrame:
    """One row per head, in the columns of the result kind `scores`; arrays are [L, Hq]."""
    import pandas as pd

    layers, heads = values.shape
    head = np.arange(heads, dtype=np.int32)
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers, dtype=np.int32), heads),
            "head": np.tile(head, layers),
            "kv_head": np.tile(head // (heads // num_kv_heads), layers),
            "hits": hits.ravel(),
            "matched_tokens": np.full(values.size, matched, np.int64),
            "score": values.ravel(),
            "ci_low": low.ravel(),
            "ci_high": high.ravel(),
        }
    )


def sorted_heads(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[int, int]]:
    """Rows of a `scores` table by layer and head, and (L, Hq).

    Raises:
        InputError: heads are missing or doubled; ``path`` is named.
    """
    if len(frame) == 0:
        raise InputError(f"{path}: it holds no heads: run the scoring stage again")
    layers, heads = int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1
    if len(frame) != layers * heads or frame.duplicated(["layer", "head"]).any():
        raise InputError(
            f"{path}: {len(frame)} rows do not fill {layers} layers x {heads} heads: score again"
        )
    return frame.sort_values(["layer", "head"]), (layers, heads)


def samples_frame(samples: HeadSamples) -> pd.DataFrame:
    """One row per image and head, in the columns of the result kind `score_samples`."""
    import pandas as pd

    images, layers, heads = samples.weights.shape
    return pd.DataFrame(
        {
            "image_id": np.repeat(np.array(samples.image_ids, dtype=object), layers * heads),
            "layer": np.tile(np.repeat(np.arange(layers, dtype=np.int32), heads), images),
            "head": np.tile(np.arange(heads, dtype=np.int32), images * layers),
            "hits": samples.hits.ravel(),
            "matched_tokens": np.repeat(samples.matched, layers * heads),
            "weight": samples.weights.ravel(),
            "mean": samples.means.ravel(),
        }
    )


def check_samples(samples: HeadSamples, values: Floats, path: Path) -> None:
    """Check that the per-image results of file ``path`` add up to the scores ``values`` [L, Hq].

    Results without a hit fit the scores that are the same for every head.

    Raises:
        InputError: they are of another run.
    """
    total = samples.weights.sum(axis=0)
    if not total.any():
        total = np.ones(total.shape)
    if total.shape != values.shape or not np.allclose(total / max(total.sum(), 1e-300), values, atol=1e-9):
        raise InputError(
            f"{path}: its rows do not add up to the scores: they are of another run, score again"
        )


def samples_from_frame(frame: pd.DataFrame, path: Path) -> HeadSamples:
    """The inverse of `samples_frame`; images are sorted by id.

    Raises:
        InputError: an image lacks heads; ``path`` is named.
    """
    frame = frame.sort_values(["image_id", "layer", "head"])
    ids = tuple(frame["image_id"].unique().tolist())
    shape = (0, 0, 0) if not ids else (len(ids), int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1)
    if not ids or len(frame) != np.prod(shape) or frame.duplicated(["image_id", "layer", "head"]).any():
        raise InputError(f"{path}: {len(frame)} rows do not fill {shape} images, layers, heads: score again")
    return HeadSamples(
        image_ids=ids,
        hits=frame["hits"].to_numpy(np.int64).reshape(shape),
        weights=frame["weight"].to_numpy(np.float64).reshape(shape),
        matched=frame["matched_tokens"].to_numpy(np.int64).reshape(shape)[:, 0, 0],
    )
