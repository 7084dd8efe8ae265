"""Labels of policies, as configurations, result files and the command line write them.

A label names an allocator, and after an @ a ranker; each may have settings in brackets: "sparsemm",
"sparsemm[rho=0.3]", "adakv@key_norm", "sparsemm[rho=0.3]@streaming[sinks=8]".
Head scores can be a file's: "sparsemm[scores=retrieval_heads.json]". Works without torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from sparsemm.errors import InputError
from sparsemm.methods import METHODS, QUESTIONS, RANKERS

_LABEL = re.compile(r"(\w+)(?:\[([^\[\]@]*)\])?(?:@(\w+)(?:\[([^\[\]@]*)\])?)?")
_QUESTION = re.compile(r"[\[,]\s*question=(\w+)\s*[\],]")
_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
}
_PARSERS |= {"float | None": float, "Any": str}  # Any: head scores, by the name of their file
_WORDS = {"int": "a whole number", "float": "a number", "str": "a name", "bool": "true or false"}
# Fields that no label sets: they are the same for every policy of a run.
COMMON = ("budget", "window", "kernel", "ranking", "ranker")
COMMON_OF_RANKERS = ("window", "precision")


class Label(NamedTuple):
    """The parts of a label; settings are texts by their key."""

    method: str
    settings: Mapping[str, str]
    ranker: str | None
    ranker_settings: Mapping[str, str]


def split_label(label: str) -> Label:
    """The parts of a label, with names that are known.

    Raises:
        InputError: for another form, or an unknown name, with the nearest known one.
    """
    match = _LABEL.fullmatch(label.strip())
    if match is None:
        name = re.split(r"[\[@]", label, maxsplit=1)[0]
        cure = 'write it like "sparsemm[rho=0.3]@key_norm"' if name in METHODS else nearest(name, METHODS)
        raise InputError(f"policy {label!r} is not known: {cure}")
    method, settings, ranker, own = match.groups()
    if method not in METHODS:
        raise InputError(f"policy {label!r} is not known: {nearest(method, METHODS)}")
    if ranker is not None and ranker not in RANKERS:
        raise InputError(f"policy {label!r}: the ranker {ranker!r} is not known: {nearest(ranker, RANKERS)}")
    return Label(method, _pairs(settings), ranker, _pairs(own))


def method_settings(label: str) -> tuple[str, dict[str, str]]:
    """The method's name and the settings of a label: "sparsemm[rho=0.3]" gives ("sparsemm", {"rho": "0.3"}).

    A label with a ranker, or one that is not known, is returned whole, without settings.
    """
    try:
        parts = split_label(label)
    except InputError:
        return label, {}
    return (parts.method, dict(parts.settings)) if parts.ranker is None else (label, {})


def with_question(label: str, question: str) -> str:
    """The label of a cell by when it compresses: "sparsemm@key_norm" gives "sparsemm[question=agnostic]@key_norm".

    Args:
        label: of a policy.
        question: of QUESTIONS; the first, "aware", is not written.
    """
    if question == QUESTIONS[0]:
        return label
    head, at, ranker = label.partition("@")
    own = head[:-1] + "," if head.endswith("]") else head + "["
    return f"{own}question={question}]{at}{ranker}"


def split_question(label: str) -> tuple[str, str]:
    """The policy's own label and the question mode of a cell's label: the inverse of `with_question`.

    Raises:
        InputError: for a mode that is not known.
    """
    head, at, ranker = label.partition("@")
    found = _QUESTION.search(head)
    if found is None:
        return label, QUESTIONS[0]
    if found[1] not in QUESTIONS:
        raise InputError(
            f"policy {label!r}: question={found[1]} is not known: {nearest(found[1], QUESTIONS)}"
        )
    own = head[found.end() - 1 :] if head[found.start()] == "," else "[" + head[found.end() - 1 :].lstrip(",")
    head = (head[: found.start()] + own).removesuffix("[]")
    return f"{head}{at}{ranker}", found[1]


def parse_settings(
    label: str, owner: str, texts: Mapping[str, str], allowed: Mapping[str, str]
) -> dict[str, Any]:
    """The values of a label's settings.

    Args:
        label: for messages.
        owner: the method or ranker that has the settings.
        texts: as written, by key.
        allowed: the type of every setting: "int", "float", "bool".

    Raises:
        InputError: for an unknown key or a text that is no value of the type.
    """
    values = {}
    for key, text in texts.items():
        if key not in allowed:
            known = list(allowed) or "none"
            raise InputError(f"policy {label!r}: {key!r} is no setting of {owner}: it has {known}")
        try:
            values[key] = _PARSERS[allowed[key]](text)
        except (KeyError, ValueError) as error:
            what = _WORDS[allowed[key].partition(" ")[0]]
            raise InputError(f"policy {label!r}: {text!r} is no value for {key}: give {what}") from error
    return values


def label_values(
    label: str,
    fields_of_method: Callable[[str], Mapping[str, str]],
    fields_of_ranker: Callable[[str], Mapping[str, str]],
) -> tuple[str, dict[str, Any], str | None, dict[str, Any]]:
    """The method of a label, its settings, the ranker and its settings.

    Args:
        label: "sparsemm[rho=0.3]@key_norm" gives ("sparsemm", {"rho": 0.3}, "key_norm", {}).
        fields_of_method: the fields of a method by its name, with their types as written.
        fields_of_ranker: the same of a ranker.

    Raises:
        InputError: for an unknown policy, ranker, key or value, and a ranker where none has a place.
    """
    parts = split_label(label)
    fields = fields_of_method(parts.method)
    allowed = {key: kind for key, kind in fields.items() if key not in COMMON}
    settings = parse_settings(label, parts.method, parts.settings, allowed)
    if parts.ranker is None:
        return parts.method, settings, None, {}
    if "ranker" not in fields:
        raise InputError(f"policy {label!r}: {parts.method} takes no ranker: leave out @{parts.ranker}")
    fields = fields_of_ranker(parts.ranker)
    allowed = {key: kind for key, kind in fields.items() if key not in COMMON_OF_RANKERS}
    own = parse_settings(label, parts.ranker, parts.ranker_settings, allowed)
    return parts.method, settings, parts.ranker, own


def nearest(word: str, known: Iterable[str]) -> str:
    """The cure for a name that is not known: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(names)}"


def _pairs(text: str | None) -> dict[str, str]:
    parts = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    return {key.strip(): value.strip() for key, _, value in parts}
