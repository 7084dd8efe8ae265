"""Bytes that a run still has to store, by file system, against what is free there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsemm.errors import InputError
from sparsemm.preflight.access import Found, text_of
from sparsemm.preflight.machine import Machine, nearest
from sparsemm.sources.fetching import MODEL_FILES
from sparsemm.sources.lock import Source
from sparsemm.sources.splits import CARD, split_files

RESULT_ROW_BYTES = 400  # of a prediction, twice: finished batches wait beside the result
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Need:
    """What one repository, or the results, take.

    Attributes:
        key: of the configuration.
        place: the folder that the bytes go to.
        total: bytes in the end.
        there: those of them that are stored already.
    """

    key: str
    place: Path
    total: int
    there: int = 0

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return self.total - self.there


@dataclass(frozen=True)
class Volume:
    """A file system: what is to come there and what is free, in bytes."""

    places: tuple[Path, ...]
    missing: int
    free: int


def need_of(found: Found, machine: Machine, rows: int | None, rows_of_split: int | None) -> Need | None:
    """What a repository takes; None where nothing of it is fetched or known.

    Args:
        found: the hub's answer.
        machine: where the cache is.
        rows: how many rows are used; None: all.
        rows_of_split: how many there are; None: unknown.

    Raises:
        InputError: for a data set without the split.
    """
    source, named = found.source, found.named
    if source is None:
        return None
    if named.wanted.kind == "model":
        folder = machine.cache / f"models--{source.id.replace('/', '--')}"
        return _need(named.key, source, model_files(source), folder / "snapshots" / source.commit, folder)
    card = text_of(source, CARD)
    names: list[str] = []
    for config, split in named.parts:
        files = split_files(source, card, config, split)
        if rows is not None and rows_of_split and len(named.parts) == 1:
            files = files[
                : max(1, -(-len(files) * rows // rows_of_split))
            ]  # files after the last row stay there
        names += files
    return _need(named.key, source, names, named.place, named.place)


def model_files(source: Source) -> list[str]:
    """The files of a model that are fetched."""
    files = [name for name in (*MODEL_FILES, INDEX) if name in source.files]
    if INDEX not in source.files:
        return [*files, "model.safetensors"] if "model.safetensors" in source.files else files
    try:
        weights = set(json.loads(text_of(source, INDEX))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"model {source.id}: {INDEX} is no index of weights; correct the revision"
        ) from error
    return [*files, *sorted(str(name) for name in weights if name in source.files)]


def volumes(needs: Sequence[Need], machine: Machine) -> list[Volume]:
    """The needs summed by file system: two folders of one share what is free."""
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(nearest(need.place).stat().st_dev, []).append(need)
    return [
        Volume(
            tuple(dict.fromkeys(need.place for need in group)),
            sum(need.missing for need in group),
            machine.free(group[0].place),
        )
        for group in by_device.values()
    ]


def _need(key: str, source: Source, names: Sequence[str], files: Path, place: Path) -> Need:
    sizes = {name: source.files[name].size for name in names}
    there = sum(size for name, size in sizes.items() if _size(files / name) == size)
    return Need(key, place, sum(sizes.values()), there)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
