"""How many numbers a model's weight files hold, from their headers: a few kilobytes of each file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsemm.sources.lock import Source


def local_weights(folder: Path) -> int:
    """Numbers in the safetensors files of a folder."""
    return sum(_local(file) for file in sorted(folder.glob("*.safetensors")))


def hub_weights(source: Source) -> int:
    """Numbers in the safetensors files of a repository, from a ranged read of each header.

    Where a header cannot be had, the file counts as one of 16 bits a number, as 7B checkpoints are.
    """
    files = [name for name in source.files if name.endswith(".safetensors") and "/" not in name]
    return sum(_remote(source, name) for name in files)


def _local(file: Path) -> int:
    with file.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
            return _numbers(header)
        except (struct.error, ValueError, KeyError, TypeError, OverflowError, MemoryError):
            return file.stat().st_size // 2


def _numbers(header: Mapping[str, Any]) -> int:
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _remote(source: Source, name: str) -> int:
    import httpx2
    from huggingface_hub import HfApi, errors

    api: Any = HfApi()
    try:
        found = api.parse_safetensors_file_metadata(source.id, name, revision=source.commit)
        return int(sum(found.parameter_count.values()))
    except (errors.SafetensorsParsingError, errors.HfHubHTTPError, httpx2.HTTPError, OSError):
        return source.files[name].size // 2
