"""The probe set: images whose words and boxes are known, on which visual heads are found.

Two sources give the same thing: documents that this project draws, and the rows of the real
``synthdog-en-detection`` set (columns ``image`` and ``2_coord``) in a local folder.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from sparsemm.documents.boxes import Box, check_box, check_image_size
from sparsemm.errors import InputError
from sparsemm.results.parquet import read_table, write_table


@dataclass(frozen=True)
class ProbeImage:
    """One image with its ground truth: ``words[i]`` stands in ``boxes[i]`` (x0, y0, x1, y1 in px)."""

    id: str
    image: Image.Image
    words: list[str]
    boxes: list[Box]


def check_probe(probe: Sequence[ProbeImage], where: str = "probe") -> None:
    """Raise InputError, naming the image, for an empty set, an image of zero area or a wrong box."""
    if not probe:
        raise InputError(f"{where}: the probe set is empty; give at least one image")
    for item in probe:
        check_image(item, f"{where}, image {item.id}")


def check_image(item: ProbeImage, where: str) -> ProbeImage:
    width, height = item.image.size
    check_image_size((height, width), where)
    if not item.words or len(item.words) != len(item.boxes):
        raise InputError(f"{where}: {len(item.words)} words, {len(item.boxes)} boxes; give a box per word")
    for index, box in enumerate(item.boxes):
        check_box(box, (height, width), f"{where}, box {index}")
    return item


def generate_probe(count: int, seed: int) -> list[ProbeImage]:
    """``count`` generated pages; image i is a function of (seed, i), its words belong to the probe split.

    Raises:
        InputError: if ``count`` is below 1.
    """
    from sparsemm.documents.pages import generate_document

    if count < 1:
        raise InputError(f"probe.images: {count} gives an empty probe set; ask for at least 1")
    probe = []
    for index in range(count):
        page = generate_document(random.Random(f"probe/{seed}/{index}"), split="probe", kind="page")
        words, boxes = [w.text for w in page.words], [w.box for w in page.words]
        probe.append(
            check_image(ProbeImage(f"{index:05d}", page.image, words, boxes), f"generated image {index}")
        )
    return probe


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def decode_image(data: bytes | None, where: str) -> Image.Image:
    if not data:
        raise InputError(f"{where}: no image bytes; drop the row")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0].split(" <")[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: unreadable image ({reason}); drop or replace the row") from error


def write_probe(path: str | Path, probe: Sequence[ProbeImage], metadata: dict[str, Any]) -> None:
    """Write the set as our parquet, result kind ``probe`` (atomic, deterministic)."""

    check_probe(probe)
    rows = [
        {"id": p.id, "image": png_bytes(p.image), "words": p.words, "boxes": [list(b) for b in p.boxes]}
        for p in probe
    ]
    write_table(path, pd.DataFrame(rows), "probe", metadata)


def read_probe(path: str | Path) -> list[ProbeImage]:
    """Read what ``write_probe`` wrote; InputError names the row of an unreadable image or a wrong box."""

    probe = []
    for row in read_table(path, "probe").itertuples():
        where = f"{path}, image {row.id}"
        boxes: list[Box] = [as_box(box, where) for box in row.boxes]
        words = [str(word) for word in row.words]
        probe.append(
            check_image(ProbeImage(str(row.id), decode_image(row.image, where), words, boxes), where)
        )
    check_probe(probe, str(path))
    return probe


def as_box(values: Any, where: str) -> Box:
    numbers = [float(v) for v in values]
    if len(numbers) != 4:
        raise InputError(f"{where}: a box has {len(numbers)} numbers; give x0, y0, x1, y1")
    return numbers[0], numbers[1], numbers[2], numbers[3]
