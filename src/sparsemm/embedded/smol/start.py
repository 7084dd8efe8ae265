"""Where a vision tower's training starts: at the tower of a model that reads already, in place of random weights.

A tower that has learnt the letters of one face learns those of others many times faster than a new one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sparsemm.errors import InputError

_TOWER = "vision_tower."


def take_tower(tower: Any, checkpoint: str | Path) -> None:
    """Take over the vision tower of a LLaVA-NeXT checkpoint.

    Args:
        tower: a CLIP vision tower, changed in place.
        checkpoint: folder with model.safetensors, of a tower of the same width, depth and patches.

    Raises:
        InputError: if the file cannot be read or its tower is of another size.
    """
    file = Path(checkpoint) / "model.safetensors"
    own = tower.state_dict()
    try:
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if _TOWER in name]  # noqa: SIM118
            found = {_short(name): opened.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{file}: no checkpoint that can be read ({error}); give a LLaVA-NeXT folder"
        ) from error
    known = {_short(name): name for name in own}
    for short, name in known.items():
        value = found.get(short)
        if value is None or value.shape != own[name].shape:
            raise InputError(f"{file}: its vision tower has no {short} of shape {tuple(own[name].shape)}")
        own[name] = value
    tower.load_state_dict(own)


def _short(name: str) -> str:
    """A weight's name inside the tower, whatever it is wrapped in."""
    return name.rpartition(_TOWER)[2].removeprefix("vision_model.")
