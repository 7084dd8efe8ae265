"""Makes a policy from the label of a configuration or result file: "adakv", "sparsemm[rho=0.3]@key_norm".

The setting `probe` of a method that splits its budget by scores names the further probe set that the scores are of:
"sparsemm[probe=wild]".
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparsemm.budget.allocation import as_scores, group_scores
from sparsemm.budget.published import read_published
from sparsemm.errors import InputError
from sparsemm.labels import label_values
from sparsemm.methods import METHODS, RANKERS
from sparsemm.policies.base import Policy

POLICY_NAMES: tuple[str, ...] = tuple(METHODS)
RANKER_NAMES: tuple[str, ...] = tuple(RANKERS)


@functools.cache
def policy_class(name: str) -> Any:
    """The class of a method, a frozen dataclass.

    Raises:
        KeyError: for a name that is not in METHODS.
    """
    return _load(f"sparsemm.policies.{METHODS[name].policy}")


@functools.cache
def ranker_class(name: str) -> Any:
    """The class of a ranker, a frozen dataclass.

    Raises:
        KeyError: for a name that is not in RANKERS.
    """
    return _load(f"sparsemm.policies.rankers.{RANKERS[name].ranker}")


def needs_scores(name: str) -> bool:
    """Whether the method splits its budget by head scores."""
    return "scores" in _fields(policy_class(name))


def parse_label(label: str) -> tuple[str, dict[str, Any], str | None, dict[str, Any]]:
    """The method, its settings, the ranker and its settings.

    "sparsemm[rho=0.3]@key_norm" gives ("sparsemm", {"rho": 0.3}, "key_norm", {}).

    Raises:
        InputError: for an unknown policy, ranker, key or value.
    """
    return label_values(label, _fields_in_labels, lambda name: _fields(ranker_class(name)))


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
        label: a method's name, with settings in brackets, and after an @ a ranker's: "sparsemm[rho=0.3]@key_norm".
        budget: tokens per KV head, window included; ignored by fullkv.
        scores: HeadScores or array, for methods that split the budget by scores. A label may name a file of the
            published format instead: "sparsemm[scores=retrieval_heads.json]".
        set_scores: the same of further probe sets, by their names, for labels with the setting probe.
        num_kv_heads: if given, the scores must group into this number of KV heads.
        **settings: window, kernel, ranking, rho, beta, floor, seed and so on. A method and a ranker use those that they
            have and their own defaults for the others. Settings in the label's brackets override them.

    Raises:
        InputError: for an unknown label or setting, a missing budget or missing scores, and values that do not fit.
    """
    name, own, ranker, own_of_ranker = parse_label(label)
    if "probe" in own:
        scores = _scores_of_set(label, own.pop("probe"), set_scores or {})
    found = policy_class(name)
    fields = _fields(found)
    known = {key for each in METHODS for key in _fields(policy_class(each))}
    known |= {key for each in RANKERS for key in _fields(ranker_class(each))}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InputError(f"policy {label!r}: no method has a setting {unknown[0]!r}; leave it out")
    arguments = {key: value for key, value in settings.items() if key in fields} | own
    if ranker is not None:
        arguments["ranker"] = _make_ranker(ranker, settings, own_of_ranker)
    if "budget" in fields:
        if budget is None:
            raise InputError(f"policy {label!r} needs a budget: give tokens per KV head")
        arguments["budget"] = budget
    if needs_scores(name):
        if "scores" in own:
            scores = _published_scores(own["scores"], num_kv_heads)
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


def _published_scores(path: str, num_kv_heads: int | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Head scores of a file in the published format, with sum 1."""
    values = read_published(Path(path))
    scores = as_scores(values / (values.sum() or 1.0), owner=path)
    if num_kv_heads is not None:
        group_scores(scores, num_kv_heads)
    return scores


def _make_ranker(name: str, settings: dict[str, Any], own: dict[str, Any]) -> Any:
    found = ranker_class(name)
    fields = _fields(found)
    arguments = {key: value for key, value in settings.items() if key in fields}
    if "precision" in fields and "ranking" in settings:
        arguments["precision"] = settings["ranking"]
    return found(**arguments | own)


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _fields_in_labels(name: str) -> dict[str, str]:
    """The fields of a method, and the setting of labels that names a further probe set."""
    fields = _fields(policy_class(name))
    return fields | ({"probe": "str"} if "scores" in fields else {})


def _fields(found: Any) -> dict[str, str]:
    """The fields of a dataclass with their types as written."""
    return {field.name: str(field.type) for field in dataclasses.fields(found)}
