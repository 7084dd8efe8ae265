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
    from sparsemm.generation.prefix import compress_prefix
    from sparsemm.heads.scores import HeadScores
    from sparsemm.heads.scoring import score_heads
    from sparsemm.models.head_masks import mask_heads
    from sparsemm.policies import (
        AdaKV,
        DuoHeads,
        FullKV,
        LocalWindow,
        Policy,
        PyramidKV,
        RandomHeads,
        SnapKV,
        SparseMM,
        VisualAda,
        make_policy,
    )
    from sparsemm.policies.rankers import (
        AccumulatedAttention,
        ImageAware,
        KeyDiff,
        KeyNorm,
        LastQuery,
        RandomTokens,
        Ranker,
        Streaming,
        ValueAttention,
        WindowAttention,
    )
    from sparsemm.policies.selection import pooled_attention, select

__version__ = "0.1.0"

__all__ = [
    "AccumulatedAttention",
    "AdaKV",
    "DuoHeads",
    "FullKV",
    "HeadScores",
    "ImageAware",
    "InputError",
    "KeyDiff",
    "KeyNorm",
    "LastQuery",
    "LocalWindow",
    "Policy",
    "PyramidKV",
    "RandomHeads",
    "RandomTokens",
    "Ranker",
    "SnapKV",
    "SparseMM",
    "Streaming",
    "ValueAttention",
    "VisualAda",
    "WindowAttention",
    "allocate",
    "audit",
    "compress",
    "compress_prefix",
    "make_policy",
    "mask_heads",
    "metrics",
    "pooled_attention",
    "score_heads",
    "select",
]

_HOME = {
    "AccumulatedAttention": "policies.rankers",
    "AdaKV": "policies",
    "DuoHeads": "policies",
    "FullKV": "policies",
    "HeadScores": "heads.scores",
    "ImageAware": "policies.rankers",
    "InputError": "errors",
    "KeyDiff": "policies.rankers",
    "KeyNorm": "policies.rankers",
    "LastQuery": "policies.rankers",
    "LocalWindow": "policies",
    "Policy": "policies",
    "PyramidKV": "policies",
    "RandomHeads": "policies",
    "RandomTokens": "policies.rankers",
    "Ranker": "policies.rankers",
    "SnapKV": "policies",
    "SparseMM": "policies",
    "Streaming": "policies.rankers",
    "ValueAttention": "policies.rankers",
    "VisualAda": "policies",
    "WindowAttention": "policies.rankers",
    "allocate": "budget",
    "audit": "budget",
    "compress": "generation.compress",
    "compress_prefix": "generation.prefix",
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
