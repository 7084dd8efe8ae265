"""What a model's entry in the configuration asks for: where the model is, and how it is prompted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsemm.errors import InputError
from sparsemm.families.images import ImageLimits
from sparsemm.models.loading import family_of_folder
from sparsemm.sources.fetching import MODEL_MARKER, read_marker
from sparsemm.sources.lock import LOCK_FILE
from sparsemm.sources.obtain import check_commit


def model_folder(name: str, entry: Mapping[str, Any]) -> str:
    """Where a model is: the folder of the configuration, or else where it was fetched to.

    Args:
        name: of the model in the configuration.
        entry: of the model: path and family.

    Raises:
        InputError: for a model of another family than the configuration says, or another commit than is locked.
    """
    folder = str(entry["path"])
    marker = Path(MODEL_MARKER.format(model=name))
    if not Path(folder).is_dir() and marker.is_file():
        found = read_marker(marker)
        check_commit(LOCK_FILE, "model", found["id"], found["commit"], marker)
        folder = found["folder"]
    family = family_of_folder(folder).name
    if family != entry["family"]:
        raise InputError(
            f"models.{name}.family is {entry['family']}, but {folder} holds a model of {family}; "
            "mend the key or the path"
        )
    return folder


def prompt_arguments(entry: Mapping[str, Any], rules: str) -> dict[str, Any]:
    """Chat format and images: arguments of `load_model` and `load_processor`."""
    limits = {key: entry.get(key) for key in ("min_pixels", "max_pixels", "pinpoints")}
    return {"prompt": entry.get("prompt", "template"), "rules": rules, "images": ImageLimits(**limits)}
