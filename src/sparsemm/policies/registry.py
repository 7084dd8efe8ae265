"""From a label of a configuration or a result file ("adakv", "sparsemm[rho=0.3]") to a policy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sparsemm.errors import InputError
from sparsemm.policies.adakv import AdaKV
from sparsemm.policies.base import Policy
from sparsemm.policies.fullkv import FullKV
from sparsemm.policies.local_window import LocalWindow
from sparsemm.policies.pyramidkv import PyramidKV
from sparsemm.policies.random_heads import RandomHeads
from sparsemm.policies.snapkv import SnapKV
from sparsemm.policies.sparsemm import SparseMM

# name -> (class, the settings a label may change)
_METHODS: dict[str, tuple[Callable[..., Policy], tuple[str, ...]]] = {
    "fullkv": (FullKV, ()),
    "snapkv": (SnapKV, ()),
    "pyramidkv": (PyramidKV, ("beta",)),
    "adakv": (AdaKV, ("floor",)),
    "sparsemm": (SparseMM, ("rho", "waterfill")),
    "random_heads": (RandomHeads, ("seed", "rho")),
    "local_window": (LocalWindow, ()),
}
POLICY_NAMES: tuple[str, ...] = tuple(_METHODS)
_LABEL = re.compile(r"(\w+)(?:\[([^\[\]]*)\])?")
_PARSERS: dict[str, Callable[[str], Any]] = {
    "beta": int,
    "seed": int,
    "floor": float,
    "rho": float,
    "waterfill": lambda text: {"true": True, "false": False}[text.lower()],
}


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """ "sparsemm[rho=0.3]" -> ("sparsemm", {"rho": 0.3}); InputError for an unknown policy, key or value."""
    match = _LABEL.fullmatch(label.strip())
    name = match.group(1) if match else label
    if match is None or name not in _METHODS:
        raise InputError(f"policy {label!r} is not known: choose from {', '.join(POLICY_NAMES)}")
    allowed = _METHODS[name][1]
    settings: dict[str, Any] = {}
    for part in filter(None, (match.group(2) or "").split(",")):
        key, _, text = (piece.strip() for piece in part.partition("="))
        if key not in allowed:
            raise InputError(
                f"policy {label!r}: {key!r} is no setting of {name}: it has {list(allowed) or 'none'}"
            )
        try:
            settings[key] = _PARSERS[key](text)
        except (KeyError, ValueError) as error:
            raise InputError(f"policy {label!r}: {text!r} is no value for {key}") from error
    return name, settings


def make_policy(
    label: str,
    *,
    budget: int | None,
    window: int = 32,
    kernel: int = 5,
    scores: Any = None,
    num_kv_heads: int | None = None,
    rho: float = 0.1,
    beta: int = 20,
    floor: float = 0.2,
    seed: int = 0,
) -> Policy:
    """The policy of a label; settings in the label's brackets win over the arguments.

    scores: HeadScores or array, needed by sparsemm alone. num_kv_heads: checked against the scores when
    given. budget is ignored by fullkv. Raises InputError for anything that does not fit.
    """
    name, settings = parse_label(label)
    method, allowed = _METHODS[name]
    defaults = {"rho": rho, "beta": beta, "floor": floor, "seed": seed}
    arguments: dict[str, Any] = {"kernel": kernel}
    arguments |= {key: value for key, value in defaults.items() if key in allowed} | settings
    if name != "local_window":
        arguments["window"] = window
    if name != "fullkv":
        if budget is None:
            raise InputError(f"policy {label!r} needs a budget: give tokens per KV head")
        arguments["budget"] = budget
    if name == "sparsemm":
        if scores is None:
            raise InputError(
                f"policy {label!r} needs head scores: run the scoring stage or give a scores file"
            )
        if num_kv_heads is not None and hasattr(scores, "per_kv_head"):
            scores.per_kv_head(num_kv_heads)
        arguments["scores"] = scores
    return method(**arguments)
