"""Visual heads: probe set, patch map, recorded attention, matching, visual scores, attention maps.

Names are imported when they are first used: probe sets and scores are read without torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "HeadScores": "scores",
    "PatchMap": "patch_map",
    "ProbeImage": "probe",
    "ScoringSettings": "settings",
    "generate_probe": "probe",
    "generate_scenes": "scenes",
    "map_patches": "patch_map",
    "match_pieces": "matching",
    "read_patches": "patch_map",
    "read_probe": "probe",
    "read_synthdog": "synthdog",
    "score_heads": "scoring",
    "write_patches": "patch_map",
    "write_probe": "probe",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
