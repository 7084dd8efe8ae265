"""How many tokens a benchmark's prompts have, by family: the longest, and the mean."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemm.preflight.sizes import ModelSizes

# Text of a prompt, chat format included. MMBench's hints and options are the longest.
TEXT = {"mean": 64, "longest": 512}
GENERATED_TEXT = 64  # of a drawn document's question
ASSUMED_PIXELS = 640 * 480  # mean image where nothing is known of a data set
QWEN_PIXELS = {"paper": 16384 * 28 * 28, "current": 768 * 28 * 28}  # largest image of each rule set
QWEN_DEFAULT = 12_845_056  # of the processor on the hub, where no rule set holds
_ONEVISION_TILES = 9 * 1.21  # more than these are shrunk
_TABLE_1 = {"llava_next": "llava-next", "qwen2_vl": "qwen2-vl"}


@dataclass(frozen=True)
class Prompts:
    """Tokens of a benchmark's prompts.

    Attributes:
        mean: of all prompts.
        longest: of any.
        image: image tokens of the longest.
        drawn: whether this project draws the documents.
        known: where the mean is from.
    """

    mean: int
    longest: int
    image: int
    drawn: bool
    known: str


def prompts_of(
    sizes: ModelSizes,
    model: Mapping[str, Any],
    benchmark: str,
    *,
    rules: str,
    areas: Sequence[int] = (),
    generated: bool = False,
    table_1: Path = Path("data/paper/table1_input_tokens.csv"),
) -> Prompts:
    """Tokens of a benchmark's prompts.

    Args:
        sizes: of the model.
        model: its section of the configuration.
        benchmark: its name.
        rules: the rule set.
        areas: px of every image where the data set has been fetched.
        generated: whether its documents are drawn by this project.
        table_1: the paper's mean input tokens.
    """
    most = most_image_tokens(sizes, model, rules)
    text, long_text = (GENERATED_TEXT, GENERATED_TEXT) if generated else (TEXT["mean"], TEXT["longest"])
    cell = (sizes.patch * sizes.merge) ** 2
    known = "the longest that the model's image limits allow"
    mean = most
    if sizes.tile == 0:  # tokens follow the image's area
        image = [min(most, max(1, area // cell)) for area in areas or (ASSUMED_PIXELS,)]
        mean = sum(image) // len(image)
        known = "sizes of the fetched images" if areas else "images of 640 x 480 px"
        most = max(image) if areas else most
    published = _published(table_1, sizes.family, benchmark)
    if published and not areas and rules == "paper" and model.get("prompt") == "rules":
        return Prompts(min(published, most + text), most + long_text, most, generated, "the paper's table 1")
    return Prompts(mean + text, most + long_text, most, generated, known)


def most_image_tokens(sizes: ModelSizes, model: Mapping[str, Any], rules: str) -> int:
    """Image tokens of the largest image that the model's limits allow."""
    if sizes.most_tokens:
        return sizes.most_tokens
    if sizes.tile == 0:
        own = QWEN_PIXELS[rules] if model.get("prompt") == "rules" else QWEN_DEFAULT
        return int(model.get("max_pixels", own)) // (sizes.patch * sizes.merge) ** 2
    side = sizes.tile // sizes.patch
    grids = [
        (h // sizes.tile * side, w // sizes.tile * side) for h, w in model.get("pinpoints", sizes.pinpoints)
    ]
    fine = max((rows * (columns + 1) for rows, columns in grids), default=0)
    if sizes.family == "llava_onevision":
        fine = min(fine, math.ceil(_ONEVISION_TILES * side**2) + 4 * side)
    return side**2 + fine


def _published(table: Path, family: str, benchmark: str) -> int:
    """The paper's mean input tokens, 0 where it gives none."""
    if not table.is_file():
        return 0
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["model_family"], row["benchmark"]) == (_TABLE_1.get(family), benchmark):
                return int(row["mean_input_tokens"])
    return 0
