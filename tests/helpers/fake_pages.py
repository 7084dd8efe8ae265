"""Made-up recordings of a page: attention of all heads, and what each KV head keeps, for tests of the explorer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from sparsemm.reporting.explorer.gathering import Sources
from sparsemm.results.parquet import write_table

from helpers.fake_results import Run

ROWS, COLS, LAYERS, HEADS = 12, 8, 6, 12
WORDS = ["K0", "407", "</script>"]
BOXES = [[16.0, 16.0, 48.0, 32.0], [64.0, 16.0, 112.0, 32.0], [16.0, 96.0, 80.0, 112.0]]
TOKENS = [("K", 0), ("0", -1), (" ", -1), ("407", 1), ("\n", -1)]
POLICIES, BUDGETS = ("sparsemm", "adakv"), (16, 32)


def write_pages(root: Path, model: str) -> None:
    """Write what the stages of attention maps record of a page, beside the run of `make_run`."""
    base = root / "attention_maps"
    for kind, (folder, frame) in {
        "head_pages": ("pages", _page()),
        "head_maps": ("heads", _maps()),
        "token_ranks": ("ranks", _ranks()),
        "page_keep": ("kept", _keep()),
    }.items():
        write_table(base / folder / f"{model}.parquet", frame, kind, {"model": model})


def sources_of(root: Path, run: Run) -> Sources:
    """The explorer's sources of a made-up run, with the pages that `write_pages` added."""
    pages = {
        name: sorted((root / "attention_maps" / name).glob("*.parquet"))
        for name in ("pages", "heads", "ranks", "kept")
    }
    return Sources(
        scores=run.scores,
        keep=run.keep,
        predictions=run.predictions,
        run_scores=run.run_scores,
        efficiency=run.efficiency,
        **pages,
    )


def _page() -> pd.DataFrame:
    image = Image.new("RGB", (COLS * 16, ROWS * 16), "white")
    draw = ImageDraw.Draw(image)
    for word, box in zip(WORDS, BOXES):
        draw.text((box[0], box[1]), word, fill="black")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    row: dict[str, Any] = {
        "image_id": "00000",
        "image": buffer.getvalue(),
        "words": WORDS,
        "boxes": BOXES,
        "row_edges": [16.0 * at for at in range(ROWS + 1)],
        "col_edges": [16.0 * at for at in range(COLS + 1)],
        "block": 1,
        "answer": "".join(text for text, _ in TOKENS),
        "prompt_tokens": 120,
        "image_tokens": ROWS * COLS + ROWS,
    }
    return pd.DataFrame([row])


def _maps() -> pd.DataFrame:
    """Head h of layer l has its brightest cell at row l, column h % COLS; even heads hit."""
    rows = []
    for step, (text, word) in enumerate(TOKENS):
        for layer in range(LAYERS):
            weights = np.zeros((HEADS, ROWS, COLS), dtype=np.uint8)
            for head in range(HEADS):
                weights[head, layer, head % COLS] = 255
                weights[head, layer + 1, head % COLS] = 100
            rows.append(
                {
                    "image_id": "00000",
                    "step": step,
                    "layer": layer,
                    "token": text,
                    "word": word,
                    "peaks": [0.5] * HEADS,
                    "shares": [0.75] * HEADS,
                    "hits": [int(word >= 0 and head % 2 == 0) for head in range(HEADS)],
                    "weights": weights.tobytes(),
                }
            )
    return pd.DataFrame(rows)


def _ranks() -> pd.DataFrame:
    """Every head ranks the cells in their own order, from 1."""
    order = np.arange(1, ROWS * COLS + 1, dtype="<u2")
    return pd.DataFrame(
        {
            "image_id": "00000",
            "ranker": "window_attention",
            "layer": range(LAYERS),
            "ranks": [np.tile(order, HEADS).tobytes()] * LAYERS,
        }
    )


def _keep() -> pd.DataFrame:
    rows = []
    for policy in POLICIES:
        for budget in BUDGETS:
            for layer in range(LAYERS):
                for head in range(HEADS):
                    keep = budget - 8 if policy == "adakv" else (budget - 8) * (head % 3)
                    rows.append(
                        {
                            "image_id": "00000",
                            "policy": policy,
                            "budget": budget,
                            "layer": layer,
                            "kv_head": head,
                            "ranker": "window_attention",
                            "keep": keep,
                            "kept_tokens": keep + 8,
                            "image_tokens": keep,
                        }
                    )
    return pd.DataFrame(rows)
