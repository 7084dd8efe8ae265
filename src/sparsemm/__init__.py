"""sparsemm: visual heads and head-wise KV-cache budgets for Hugging Face vision-language models.

Names are loaded when they are first used, so that what needs neither torch nor transformers runs without
them.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsemm.budget import allocate, audit
    from sparsemm.compress import compress, mask_heads
    from sparsemm.errors import InputError
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
    from sparsemm.scores import HeadScores
    from sparsemm.scoring import score_heads
    from sparsemm.selection import pooled_attention, select

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
    "HeadScores": "scores",
    "InputError": "errors",
    "LocalWindow": "policies",
    "Policy": "policies",
    "PyramidKV": "policies",
    "RandomHeads": "policies",
    "SnapKV": "policies",
    "SparseMM": "policies",
    "allocate": "budget",
    "audit": "budget",
    "compress": "compress",
    "make_policy": "policies",
    "mask_heads": "compress",
    "pooled_attention": "selection",
    "score_heads": "scoring",
    "select": "selection",
}


class _Package(ModuleType):
    """The package, in which a public name wins over a submodule of the same name (`sparsemm.compress`)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    """A public name, or a submodule, on first use."""
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


sys.modules[__name__].__class__ = _Package
