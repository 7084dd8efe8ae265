"""Makes a policy from the label of a configuration or result file: "adakv", "sparsemm[rho=0.3]".

The setting `probe` of a method that splits its budget by scores names the further probe set that the scores are of:
"sparsemm[probe=wild]".
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from sparsemm.errors import InputError
from sparsemm.methods import METHODS, split_label
from sparsemm.policies.base import Policy

POLICY_NAMES: tuple[str, ...] = tuple(METHODS)
_COMMON = ("scores", "budget", "window", "kernel", "ranking")  # fields that a label cannot set
_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
}


@functools.cache
def policy_class(name: str) -> Any:
    """The class of a method, a frozen dataclass.

    Raises:
        KeyError: for a name that is not in METHODS.
    """
    module, _, found = METHODS[name].policy.rpartition(".")
    return getattr(importlib.import_module(f"sparsemm.policies.{module}"), found)


def settings_of(name: str) -> dict[str, str]:
    """What a label of the method may set in brackets: field -> type ("int", "float", "bool"), and probe -> "str"."""
    fields = dataclasses.fields(policy_class(name))
    found = {field.name: str(field.type) for field in fields if field.name not in _COMMON}
    return found | ({"probe": "str"} if needs_scores(name) else {})


def needs_scores(name: str) -> bool:
    """Whether the method splits its budget by head scores."""
    return "scores" in {field.name for field in dataclasses.fields(policy_class(name))}


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """The method's name and the settings of a label: "sparsemm[rho=0.3]" gives ("sparsemm", {"rho": 0.3}).

    Raises:
        InputError: for an unknown policy, key or value.
    """
    name, texts = split_label(label)
    if name not in METHODS:
        raise InputError(f"policy {label!r} is not known: choose from {', '.join(POLICY_NAMES)}")
    allowed = settings_of(name)
    settings: dict[str, Any] = {}
    for key, text in texts.items():
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
    label: str,
    *,
    budget: int | None,
    scores: Any = None,
    set_scores: Mapping[str, Any] | None = None,
    num_kv_heads: int | None = None,
    **settings: Any,
) -> Policy:
    """The policy of a label.

    Args:
        label: a method's name, with settings in brackets: "sparsemm[rho=0.3]".
        budget: tokens per KV head, window included; ignored by fullkv.
        scores: HeadScores or array, for methods that split the budget by scores.
        set_scores: the same of further probe sets, by their names, for labels with the setting probe.
        num_kv_heads: if given, the scores must group into this number of KV heads.
        **settings: window, kernel, ranking, rho, beta, floor, seed and so on. A method uses those that it has and its
            own defaults for the others. Settings in the label's brackets override them.

    Raises:
        InputError: for an unknown label or setting, a missing budget or missing scores, and values that do not fit.
    """
    name, own = parse_label(label)
    if "probe" in own:
        scores = _scores_of_set(label, own.pop("probe"), set_scores or {})
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
    if needs_scores(name):
        if scores is None:
            raise InputError(
                f"policy {label!r} needs head scores: run the scoring stage or give a scores file"
            )
        if num_kv_heads is not None and hasattr(scores, "per_kv_head"):
            scores.per_kv_head(num_kv_heads)
        arguments["scores"] = scores
    policy: Policy = found(**arguments)
    return policy


def _scores_of_set(label: str, name: str, set_scores: Mapping[str, Any]) -> Any:
    """The scores of a further probe set, or one clear line."""
    if name not in set_scores:
        known = ", ".join(set_scores) or "none"
        raise InputError(f"policy {label!r}: no scores of a probe set {name!r} are given; there are {known}")
    return set_scores[name]
