"""sparsemm: visual heads and head-wise KV-cache budgets for Hugging Face vision-language models.

Names are loaded when they are first used, so that what needs neither torch nor transformers runs without
them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemm.budget import allocate, audit
    from sparsemm.errors import InputError
    from sparsemm.generation.compress import compress
    from sparsemm.heads.scores import HeadScores
    from sparsemm.heads.scoring import score_heads
    from sparsemm.models.head_masks import mask_heads
    from sparsemm.policies import (
        AdaKV,
        FullKV,
        LocalWindow,
        Policy,
        PyramidKV,
        RandomHeads,
        SnapKV,
        SparseMM,
        make_policy,
    )
    from sparsemm.policies.selection import pooled_attention, select

__version__ = "0.1.0"

__all__ = [
    "AdaKV",
    "FullKV",
    "HeadScores",
    "InputError",
    "LocalWindow",
    "Policy",
    "PyramidKV",
    "RandomHeads",
    "SnapKV",
    "SparseMM",
    "allocate",
    "audit",
    "compress",
    "make_policy",
    "mask_heads",
    "metrics",
    "pooled_attention",
    "score_heads",
    "select",
]

_HOME = {
    "AdaKV": "policies",
    "FullKV": "policies",
    "HeadScores": "heads.scores",
    "InputError": "errors",
    "LocalWindow": "policies",
    "Policy": "policies",
    "PyramidKV": "policies",
    "RandomHeads": "policies",
    "SnapKV": "policies",
    "SparseMM": "policies",
    "allocate": "budget",
    "audit": "budget",
    "compress": "generation.compress",
    "make_policy": "policies",
    "mask_heads": "models",
    "pooled_attention": "policies.selection",
    "score_heads": "heads.scoring",
    "select": "policies.selection",
}


def __getattr__(name: str) -> Any:
    """A public name, or a subpackage, on first use."""
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
