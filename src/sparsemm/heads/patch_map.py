"""Patch map: which image tokens cover each word of the probe images, and where they stand in the prompt.

It depends on the probe set, the processor, the prompt and the convention; no model is loaded. Positions are those of
the unpadded prompt: who reads a padded batch adds the padding.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsemm.documents.boxes import Box
from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.families.layout import Layout
from sparsemm.heads.probe import ProbeImage, as_box, check_probe, check_unique_ids
from sparsemm.models.loading import build_inputs
from sparsemm.results.parquet import read_metadata, read_table, write_table

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_KIND = "patches"


@dataclass(frozen=True, eq=False)
class WordPatches:
    """The image tokens that cover one word.

    Attributes:
        box: x0, y0, x1, y1 of the word, px.
        image_tokens: int64 [n], indexes among the image's tokens.
        prompt_positions: int64 [n], positions of those tokens in the unpadded prompt.
        cells: float64 [n, 4], x0, y0, x1, y1 of the pixels that those tokens see, clipped to the image.
    """

    word: str
    box: Box
    image_tokens: Ints
    prompt_positions: Ints
    cells: Floats


@dataclass(frozen=True, eq=False)
class PatchMap:
    """The patch maps of a probe set.

    Attributes:
        images: the words of each image, in the order of the image, by image id.
        prompt: what the model is asked; None if the file does not say.
        convention: which image tokens count; None if the file does not say.
    """

    images: Mapping[str, tuple[WordPatches, ...]]
    prompt: str | None = None
    convention: str | None = None

    def words_of(self, item: ProbeImage) -> tuple[WordPatches, ...]:
        """The words of a probe image.

        Raises:
            InputError: the image is not in the map, or has other words or boxes there.
        """
        words = self.images.get(item.id)
        if words is None:
            raise InputError(f"patches: image {item.id} is not in the map; map the patches of this probe set")
        if [(word.word, word.box) for word in words] != list(zip(item.words, item.boxes, strict=True)):
            raise InputError(
                f"patches: image {item.id} has other words or boxes in the map; map the patches of this probe set"
            )
        return words

    def check(self, prompt: str, convention: str) -> None:
        """Raise InputError if the map was made for another prompt or convention."""
        for name, made, wanted in (
            ("prompt", self.prompt, prompt),
            ("convention", self.convention, convention),
        ):
            if made is not None and made != wanted:
                raise InputError(f"patches: made with {name} {made!r}, not {wanted!r}; map the patches again")

    def digest(self) -> str:
        """sha256 over everything that scoring reads."""
        found = hashlib.sha256(f"{self.prompt!r} {self.convention!r}".encode())
        for image, words in sorted(self.images.items()):
            found.update(f"{image!r} {len(words)}".encode())
            for word in words:
                positions = word.prompt_positions.tolist()
                found.update(f"{word.word!r} {word.box} {positions}".encode())
        return found.hexdigest()

    def frame(self) -> pd.DataFrame:
        """One row per image and word, in the columns of the result kind `patches`."""
        rows = [
            {
                "image": image,
                "index": index,
                "word": word.word,
                "box": list(word.box),
                "image_tokens": word.image_tokens.tolist(),
                "prompt_positions": word.prompt_positions.tolist(),
                "cells": word.cells.tolist(),
            }
            for image, words in self.images.items()
            for index, word in enumerate(words)
        ]
        return pd.DataFrame(rows).astype({"index": "int32"})


def map_patches(
    processor: Any,
    probe: Sequence[ProbeImage],
    *,
    prompt: str = READ_PROMPT,
    convention: str = "released",
) -> PatchMap:
    """The patch map of a probe set. Each image is processed with the prompt once, without padding.

    Args:
        convention: which image tokens count: ``released`` (the high-resolution view only) or ``all``.

    Raises:
        InputError: a bad probe set, two images with the same id, an unknown convention, a processor whose layout or
            image token is not known.
    """
    check_probe(probe)
    check_unique_ids(probe)
    images = {}
    for item in probe:
        (ids,) = build_inputs(processor, [item.image], [prompt])["input_ids"]
        images[item.id] = map_image(processor, item, ids, convention)
    return PatchMap(images, prompt, convention)


def map_image(processor: Any, item: ProbeImage, ids: Any, convention: str) -> tuple[WordPatches, ...]:
    """The words of one probe image, for the ids [T] of its unpadded prompt."""
    layout, positions = locate_image(processor, item, ids)
    cell = functools.cache(functools.partial(_clipped, layout))  # words share tokens
    words = []
    for word, box in zip(item.words, item.boxes, strict=True):
        tokens = np.array(layout.tokens(box, convention), dtype=np.int64)
        cells = np.array([cell(token) for token in tokens.tolist()], dtype=np.float64).reshape(-1, 4)
        words.append(WordPatches(word, box, tokens, positions[tokens], cells))
    return tuple(words)


def locate_image(processor: Any, item: ProbeImage, ids: Any) -> tuple[Layout, Ints]:
    """The layout of an image, and the position of each of its tokens in a prompt of ids [T].

    Raises:
        InputError: the prompt does not hold exactly the tokens of this image.
    """
    layout = make_layout(processor, (item.image.height, item.image.width))
    return layout, layout.positions(ids, image_token_id(processor))


def image_token_id(processor: Any) -> int:
    """Id of the placeholder of an image token, as the processor writes it.

    Raises:
        InputError: the processor does not know it.
    """
    found = getattr(processor, "image_token_id", None)
    if found is None:
        raise InputError(
            f"{type(processor).__name__}: it has no image_token_id; give a processor of a supported family"
        )
    return int(found)


def check_positions(words: Sequence[WordPatches], ids: Any, image_token: int, where: str) -> None:
    """Check that the mapped positions hold image tokens in a prompt of ids [T].

    Raises:
        InputError: the map was made with another processor or prompt.
    """
    found = np.asarray(ids)
    for word in words:
        at = word.prompt_positions
        if at.size and (at.max() >= len(found) or (found[at] != image_token).any()):
            raise InputError(
                f"{where}: a token of {word.word!r} is no image token of the prompt; "
                "map the patches with this processor and prompt"
            )


def token_mask(
    words: Sequence[WordPatches], length: int, padding: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which positions of a left padded row cover each word: bool [words, length]; and how many: int64 [words]."""
    mask = np.zeros((len(words), length), dtype=bool)
    for index, word in enumerate(words):
        mask[index, padding + word.prompt_positions] = True
    return mask, mask.sum(axis=1)


def write_patches(path: str | Path, patches: PatchMap, metadata: Mapping[str, Any]) -> None:
    """Write a result file of kind `patches`; prompt and convention go into its metadata."""
    known = {"prompt": patches.prompt, "convention": patches.convention}
    write_table(
        path,
        patches.frame(),
        _KIND,
        {**metadata, **{key: value for key, value in known.items() if value is not None}},
    )


def read_patches(path: str | Path) -> PatchMap:
    """Read a result file of kind `patches`.

    Raises:
        InputError: no such file, another kind, rows that are missing or do not fit together.
    """
    images: dict[str, list[WordPatches]] = {}
    for row in read_table(path, _KIND).itertuples():
        words = images.setdefault(row.image, [])
        where = f"{path}, image {row.image}, word {len(words)}"
        if row.index != len(words):
            raise InputError(f"{where}: missing; map the patches again")
        tokens, positions = (np.array(c, dtype=np.int64) for c in (row.image_tokens, row.prompt_positions))
        if not len(tokens) == len(positions) == len(row.cells):
            raise InputError(
                f"{where}: {len(tokens)} image tokens, {len(positions)} prompt positions, {len(row.cells)} cells; "
                "map the patches again"
            )
        cells = np.array([as_box(cell, where) for cell in row.cells], dtype=np.float64).reshape(-1, 4)
        words.append(WordPatches(row.word, as_box(row.box, where), tokens, positions, cells))
    metadata = read_metadata(path)
    complete = {image: tuple(words) for image, words in images.items()}
    return PatchMap(complete, metadata.get("prompt"), metadata.get("convention"))


def _clipped(layout: Layout, token: int) -> Box:
    """The pixels that an image token sees, clipped to the image."""
    pixels = layout.pixels(token)
    assert pixels is not None, "a token that covers a word sees pixels"
    height, width = layout.image_size
    x0, y0, x1, y1 = pixels
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
