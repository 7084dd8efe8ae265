"""The probe set: OCR images whose words and boxes are known. Made here, written, and read back.

The set of the paper, `synthdog-en-detection`, is read in `heads.synthdog`.
"""

from __future__ import annotations

import hashlib
import io
import json
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
    """One image with its ground truth: ``words[i]`` stands in ``boxes[i]`` (x0, y0, x1, y1, px)."""

    id: str
    image: Image.Image
    words: list[str]
    boxes: list[Box]


def check_probe(probe: Sequence[ProbeImage], where: str = "probe") -> None:
    """Check that the set has images, and that each has area and correct boxes.

    Raises:
        InputError: naming the image.
    """
    if not probe:
        raise InputError(f"{where}: the probe set is empty; give at least one image")
    for item in probe:
        check_image(item, f"{where}, image {item.id}")


def check_unique_ids(probe: Sequence[ProbeImage]) -> None:
    """Raise InputError if two images have the same id."""
    if len({item.id for item in probe}) < len(probe):
        raise InputError("probe: two images have the same id; give every image its own")


def check_image(item: ProbeImage, where: str) -> ProbeImage:
    """The image, if it has area and a correct box for every word.

    Raises:
        InputError: starting with ``where``.
    """
    width, height = item.image.size
    check_image_size((height, width), where)
    if not item.words or len(item.words) != len(item.boxes):
        raise InputError(f"{where}: {len(item.words)} words, {len(item.boxes)} boxes; give a box per word")
    for index, box in enumerate(item.boxes):
        check_box(box, (height, width), f"{where}, box {index}")
    return item


def generate_probe(count: int, seed: int) -> list[ProbeImage]:
    """``count`` generated pages with words of the probe split; image i depends on (seed, i) alone.

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
    """The RGB image of an encoded file.

    Raises:
        InputError: no bytes, or no readable image; the message starts with ``where``.
    """
    if not data:
        raise InputError(f"{where}: no image bytes; drop the row")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0].split(" <")[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: unreadable image ({reason}); drop or replace the row") from error


def write_probe(path: str | Path, probe: Sequence[ProbeImage], metadata: dict[str, Any]) -> None:
    """Write a result file of kind ``probe``; the same set and metadata give the same bytes."""
    check_probe(probe)
    rows = [
        {"id": p.id, "image": png_bytes(p.image), "words": p.words, "boxes": [list(b) for b in p.boxes]}
        for p in probe
    ]
    write_table(path, pd.DataFrame(rows), "probe", metadata)


def read_probe(path: str | Path) -> list[ProbeImage]:
    """Read what `write_probe` wrote.

    Raises:
        InputError: a file that cannot be read, an unreadable image or a wrong box; the image is named.
    """
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


def probe_digest(probe: Sequence[ProbeImage]) -> str:
    """sha256 over ids, words, boxes and pixels of the images, in order."""
    digest = hashlib.sha256()
    for item in probe:
        digest.update(json.dumps([item.id, item.words, item.boxes]).encode() + png_bytes(item.image))
    return digest.hexdigest()


def as_box(values: Any, where: str) -> Box:
    """Four numbers as a box.

    Raises:
        InputError: another number of values; the message starts with ``where``.
    """
    numbers = [float(v) for v in values]
    if len(numbers) != 4:
        raise InputError(f"{where}: a box has {len(numbers)} numbers; give x0, y0, x1, y1")
    return numbers[0], numbers[1], numbers[2], numbers[3]
