"""Provenance of a result: configuration, code and packages, but no time, host or path."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = (
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "safetensors",
    "sparsemm",
    "tokenizers",
    "torch",
    "transformers",
)

_HUB_FOLDER = re.compile(r"models--(?:[^/]*?--)?([^/]+)/snapshots/")


def provenance(config: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """Metadata for `write_table`: hash of `config`, code revision, package versions, and `extra`.

    Two runs of the same configuration and code give the same metadata.

    Args:
        extra: model, model_revision, dataset, seed, image_limits, device and so on.
    """
    text = json.dumps(config, sort_keys=True, default=jsonable)
    return {
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        **extra,
    }


def input_digests(paths: Iterable[str]) -> dict[str, str]:
    """The sha256 of each result file that a job reads, by its path in the run's folder.

    Times of files say which is newer only where the clock went forward; these say what a file was made from.

    Args:
        paths: of a job's inputs, such as "results/embedded/scores/tiny.parquet"; those of no run are left out.
    """
    found = {}
    for path in paths:
        top, *rest = Path(path).parts
        if top == "results" and len(rest) > 1 and path.endswith(".parquet"):
            found["/".join(rest[1:])] = file_digest(path)
    return found


def file_digest(path: str | Path) -> str:
    """The sha256 of a file, in hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_name(name: str) -> str:
    """The name of a model, from a hub id, a folder, or a folder of the hub's cache; empty if there is none."""
    cached = _HUB_FOLDER.search(name)
    return cached.group(1) if cached else name.rstrip("/").rpartition("/")[2]


def jsonable(value: Any) -> Any:
    """What `json.dumps` stores for a value that it does not know: numpy values as Python's, others as strings."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def _git_revision() -> str:
    """Commit of the checkout that this code runs from, with -dirty if files differ; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return "unknown"
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
