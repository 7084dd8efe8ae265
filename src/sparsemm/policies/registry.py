"""From a label of a configuration or a result file ("adakv", "sparsemm[rho=0.3]") to a policy."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable
from typing import Any

from sparsemm.errors import InputError
from sparsemm.methods import METHODS
from sparsemm.policies.base import Policy

POLICY_NAMES: tuple[str, ...] = tuple(METHODS)
_LABEL = re.compile(r"(\w+)(?:\[([^\[\]]*)\])?")
_COMMON = ("scores", "budget", "window", "kernel")  # fields that a label does not change
_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
}


@functools.cache
def policy_class(name: str) -> Any:
    """The class of a method, a frozen dataclass. Raises KeyError for an unknown name."""
    module, _, found = METHODS[name].policy.rpartition(".")
    return getattr(importlib.import_module(f"sparsemm.policies.{module}"), found)


def settings_of(name: str) -> dict[str, str]:
    """What a label of the method may set in its brackets: field -> type ("int", "float", "bool")."""
    fields = dataclasses.fields(policy_class(name))
    return {field.name: str(field.type) for field in fields if field.name not in _COMMON}


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """ "sparsemm[rho=0.3]" -> ("sparsemm", {"rho": 0.3}).

    Raises:
        InputError: for an unknown policy, key or value.
    """
    match = _LABEL.fullmatch(label.strip())
    name = match.group(1) if match else label
    if match is None or name not in METHODS:
        raise InputError(f"policy {label!r} is not known: choose from {', '.join(POLICY_NAMES)}")
    allowed = settings_of(name)
    settings: dict[str, Any] = {}
    for part in filter(None, (match.group(2) or "").split(",")):
        key, _, text = (piece.strip() for piece in part.partition("="))
        if key not in allowed:
            raise InputError(
                f"policy {label!r}: {key!r} is no setting of {name}: it has {list(allowed) or 'none'}"
            )
        try:
            settings[key] = _PARSERS[allowed[key]](text)
        except (KeyError, ValueError) as error:
            raise InputError(f"policy {label!r}: {text!r} is no value for {key}") from error
    return name, settings


def make_policy(
    label: str, *, budget: int | None, scores: Any = None, num_kv_heads: int | None = None, **settings: Any
) -> Policy:
    """The policy of a label.

    Args:
        label: a method's name, settings in brackets: "sparsemm[rho=0.3]".
        budget: tokens per KV head, window included; ignored by fullkv.
        scores: HeadScores or array; needed by methods that share the budget by scores.
        num_kv_heads: checked against the scores when given.
        **settings: window, kernel, rho, beta, floor, seed and so on: a method takes those that it has, its own
            defaults stand in for the others, and those in the label's brackets win.

    Raises:
        InputError: for anything that does not fit, or a setting that no method has.
    """
    name, own = parse_label(label)
    found = policy_class(name)
    fields = {field.name for field in dataclasses.fields(found)}
    known = {field.name for each in METHODS for field in dataclasses.fields(policy_class(each))}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InputError(f"policy {label!r}: no method has a setting {unknown[0]!r}; leave it out")
    arguments = {key: value for key, value in settings.items() if key in fields} | own
    if "budget" in fields:
        if budget is None:
            raise InputError(f"policy {label!r} needs a budget: give tokens per KV head")
        arguments["budget"] = budget
    if "scores" in fields:
        if scores is None:
            raise InputError(
                f"policy {label!r} needs head scores: run the scoring stage or give a scores file"
            )
        if num_kv_heads is not None and hasattr(scores, "per_kv_head"):
            scores.per_kv_head(num_kv_heads)
        arguments["scores"] = scores
    policy: Policy = found(**arguments)
    return policy
