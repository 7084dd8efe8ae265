"""Made-up patch maps and their probe set: generated pages and a regular grid of image tokens."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sparsemm.documents.pages import generate_document
from sparsemm.results.parquet import write_table


@dataclass
class Patches:
    """Paths of the files that `make_patches` wrote."""

    patches: list[Path]
    probe: list[Path]


def make_patches(root: Path, *, models: dict[str, int], pages: int = 2, families: int = 1) -> Patches:
    """Write a probe set per family and a patch map per model. models: name -> px of a side of its grid's cells."""
    made = Patches([], [])
    for family in range(families):
        frame = pd.DataFrame([_page(f"{family}-{number}", number) for number in range(pages)])
        made.probe.append(root / "probe" / f"family{family}.parquet")
        write_table(made.probe[-1], frame, "probe", {"seed": family})
    for number, (model, side) in enumerate(models.items()):
        frame = pd.DataFrame([_page(f"{number % families}-{page}", page) for page in range(pages)])
        rows = [row for page in frame.to_dict("records") for row in _words(page, side)]
        made.patches.append(root / "patches" / f"{model}.parquet")
        write_table(made.patches[-1], pd.DataFrame(rows), "patches", {"model": model})
    return made


def _page(seed: str, number: int) -> dict[str, object]:
    document = generate_document(random.Random(seed), split="probe")
    buffer = io.BytesIO()
    document.image.save(buffer, format="PNG")
    words = document.words
    return {
        "id": f"{number:05d}",
        "image": buffer.getvalue(),
        "words": [word.text for word in words],
        "boxes": [list(map(float, word.box)) for word in words],
    }


def _words(page: dict[str, object], side: int) -> list[dict[str, object]]:
    columns = 192 // side
    rows = []
    for index, (word, box) in enumerate(zip(page["words"], page["boxes"], strict=True)):
        x0, y0, x1, y1 = (int(end) for end in box)
        places = [
            (row, column)
            for row in range(y0 // side, -(-y1 // side))
            for column in range(x0 // side, -(-x1 // side))
        ]
        tokens = [row * columns + column for row, column in places]
        rows.append(
            {
                "image": page["id"],
                "index": index,
                "word": word,
                "box": box,
                "image_tokens": tokens,
                "prompt_positions": [token + 5 for token in tokens],
                "cells": [[c * side, r * side, (c + 1) * side, (r + 1) * side] for r, c in places],
            }
        )
    return rows
