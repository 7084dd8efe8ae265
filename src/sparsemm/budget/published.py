"""Head scores in the published format, a JSON file in which retrieval heads (HeadKV) are published too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsemm.errors import InputError


def read_published(path: Path) -> NDArray[np.float64]:
    """Scores [L, Hq] in the published format, {"layer-head": [value, ...]}: the mean of each list, not normalised.

    Raises:
        InputError: the file is missing, of another format, or lacks heads.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        cells = {tuple(map(int, key.split("-"))): float(np.mean(value)) for key, value in table.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give a scores file") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f'{path}: not a scores file: it must map "layer-head" to a list of numbers'
        ) from error
    if not cells or any(len(cell) != 2 for cell in cells):
        raise InputError(f'{path}: not a scores file: its keys must read "layer-head"')
    layers, heads = (max(cell[axis] for cell in cells) + 1 for axis in (0, 1))
    if len(cells) != layers * heads:
        raise InputError(f"{path}: {len(cells)} heads do not fill {layers} x {heads}: the file is incomplete")
    return np.array([[cells[i, j] for j in range(heads)] for i in range(layers)], dtype=np.float64)
