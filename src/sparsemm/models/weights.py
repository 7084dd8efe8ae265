"""The weights of a model folder: safetensors files, checked for their length and identified."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path

from sparsemm.errors import InputError

_HASH_ALL = 1 << 30  # bytes; weights beyond this are identified by their headers and sizes


def check_safetensors(file: Path) -> None:
    """Raise InputError unless the file is a safetensors file of the length that its header implies."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("header beyond the end")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a safetensors file, or truncated; copy it again") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise InputError(f"{file}: truncated, {size} of {expected} bytes; copy it again")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; no other kind is loaded.

    Raises:
        InputError: for weights that are missing, of another kind, or a broken index.
    """
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if index.is_file():
        try:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{index}: not an index of weights; copy it again") from error
        files = [folder / name for name in sorted(set(names))]
    for file in files:
        if not file.is_file():
            if other := sorted(folder.glob("*.bin")):
                raise InputError(
                    f"{other[0]}: only safetensors weights are loaded; fetch a revision that has model.safetensors"
                )
            raise InputError(f"{file}: missing weights; copy or download the checkpoint again")
    return files


def revision_of(files: Sequence[Path]) -> str:
    """The hub's commit if the path contains it, else a digest of the weights."""
    snapshot = re.search(r"snapshots/([0-9a-f]{40})", files[0].absolute().as_posix())
    if snapshot:
        return snapshot.group(1)
    digest = hashlib.sha256()
    whole = sum(file.stat().st_size for file in files) <= _HASH_ALL
    for file in files:
        with file.open("rb") as stream:
            if whole:
                while block := stream.read(1 << 20):
                    digest.update(block)
            else:
                (length,) = struct.unpack("<Q", stream.read(8))
                digest.update(stream.read(length) + str(file.stat().st_size).encode())
    return f"{'weights' if whole else 'headers'}-{digest.hexdigest()[:16]}"
