"""Visual heads: probe set, recorded attention, matching, visual scores, attention maps.

Names are loaded when they are first used: probe sets and scores are read without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "HeadScores": "scores",
    "ProbeImage": "probe",
    "generate_probe": "probe",
    "read_probe": "probe",
    "read_synthdog": "synthdog",
    "score_heads": "scoring",
    "write_probe": "probe",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """A public name on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
