"""The explorer's page of one model: picture, words, attention of all heads, and what each KV head keeps."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.results.parquet import read_table

Json = dict[str, Any]
_CURE = "run the stage that maps attention again"


@dataclass
class Page:
    """What is recorded of a model's page; each part may be missing.

    Attributes:
        page: JSON of the picture, its words and its cells, or None.
        tokens: JSON of the generated tokens whose attention is recorded.
        kept: policy -> budget -> tokens granted to each KV head and kept there.
        arrays: by group. maps: weights uint8 [S, L, Hq, rows, cols], hits uint8, peaks and shares float32 [S, L, Hq];
            ranks: uint16 [L, Hkv, rows, cols] by ranker.
    """

    page: Json | None = None
    tokens: list[Json] = field(default_factory=list)
    kept: Json = field(default_factory=dict)
    arrays: dict[str, dict[str, NDArray[Any]]] = field(default_factory=lambda: {"maps": {}, "ranks": {}})


def page_of(page: Path | None, heads: Path | None, ranks: Path | None, kept: Path | None) -> Page:
    """Read the files of one model; without the page itself, the others cannot be shown.

    Raises:
        InputError: for a file that cannot be read, or whose maps do not fit the page.
    """
    found = Page()
    if page is None:
        return found
    row = next(read_table(page, "head_pages").itertuples(), None)
    if row is None:
        return found
    grid = (len(row.row_edges) - 1, len(row.col_edges) - 1)
    found.page = {
        "id": row.image_id,
        "image": "data:image/png;base64," + base64.b64encode(row.image).decode("ascii"),
        "words": list(row.words),
        "boxes": [list(box) for box in row.boxes],
        "rows": list(row.row_edges),
        "cols": list(row.col_edges),
        "block": int(row.block),
        "answer": row.answer,
        "prompt_tokens": int(row.prompt_tokens),
        "image_tokens": int(row.image_tokens),
    }
    if heads is not None:
        _maps(heads, row.image_id, grid, found)
    if ranks is not None and kept is not None:
        _kept(ranks, kept, row.image_id, grid, found)
    return found


def _maps(path: Path, image: str, grid: tuple[int, int], found: Page) -> None:
    frame = read_table(path, "head_maps")
    frame = frame[frame["image_id"] == image]
    steps, layers = frame["step"].nunique(), frame["layer"].nunique()
    if frame.empty:
        return
    heads = len(frame["peaks"].iloc[0])
    weights = _joined(frame["weights"], np.uint8, (steps, layers, heads, *grid), path)
    found.arrays["maps"] = {
        "weights": weights,
        "hits": np.array(frame["hits"].tolist(), dtype=np.uint8).reshape(steps, layers, heads),
        "peaks": np.array(frame["peaks"].tolist(), dtype=np.float32).reshape(steps, layers, heads),
        "shares": np.array(frame["shares"].tolist(), dtype=np.float32).reshape(steps, layers, heads),
    }
    firsts = frame.drop_duplicates("step")
    found.tokens = [{"text": text, "word": int(word)} for text, word in zip(firsts["token"], firsts["word"])]


def _kept(ranks: Path, kept: Path, image: str, grid: tuple[int, int], found: Page) -> None:
    orders, counts = read_table(ranks, "token_ranks"), read_table(kept, "page_keep")
    orders, counts = (frame[frame["image_id"] == image] for frame in (orders, counts))
    if orders.empty or counts.empty:
        return
    layers, heads = int(counts["layer"].max()) + 1, int(counts["kv_head"].max()) + 1
    for ranker, rows in orders.groupby("ranker"):
        shape = (layers, heads, *grid)
        found.arrays["ranks"][str(ranker)] = _joined(rows["ranks"], np.dtype("<u2"), shape, ranks)
    for (policy, budget), rows in counts.groupby(["policy", "budget"]):
        found.kept.setdefault(policy, {})[str(budget)] = {
            "ranker": rows["ranker"].iloc[0],
            "keep": rows["keep"].tolist(),
            "tokens": rows["kept_tokens"].tolist(),
            "image": rows["image_tokens"].tolist(),
        }


def _joined(column: pd.Series, kind: Any, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    """The bytes of a column's rows, in their order, as one array.

    Raises:
        InputError: if there are more or less of them.
    """
    joined = b"".join(column)
    wanted = math.prod(shape) * np.dtype(kind).itemsize
    if len(joined) != wanted:
        raise InputError(f"{path}: {len(joined)} bytes of maps where the page has {wanted}; {_CURE}")
    return np.frombuffer(joined, dtype=kind).reshape(shape)
