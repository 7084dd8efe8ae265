"""Checks of policy labels in a configuration, without torch: the fields of the classes are read from their source."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sparsemm
from sparsemm.errors import InputError
from sparsemm.labels import label_values, split_label
from sparsemm.methods import METHODS, RANKERS

from values import Check, ConfigError, nearest

_POLICIES = Path(sparsemm.__file__).parent / "policies"


@functools.cache
def fields_of(path: str) -> dict[str, str]:
    """The fields of a class, `file.Class` under policies/, with their types as written."""
    file, _, name = path.rpartition(".")
    tree = ast.parse(_POLICIES.joinpath(*file.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    lines = [line for line in found.body if isinstance(line, ast.AnnAssign)]
    types = {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}
    return {field: kind for field, kind in types.items() if not kind.startswith("ClassVar")}


def policy_label(methods: list[str], *, settings: bool = True) -> Check:
    """A label of one of `methods`: "sparsemm", "sparsemm@key_norm", and with settings "sparsemm[rho=0.3]@key_norm".

    Args:
        methods: names that may stand before the brackets and the @.
        settings: whether brackets are allowed; result files have no place for them in their names.
    """

    def check(key: str, value: Any) -> None:
        method = re.split(r"[\[@]", str(value), maxsplit=1)[0]
        if method not in methods or not isinstance(value, str):
            raise ConfigError(f"config: {key} has the unknown value {value!r}; {nearest(method, methods)}")
        if "[" in value and not settings:
            raise ConfigError(
                f"config: {key}: {value!r} has settings, which have no place here; leave them out"
            )
        try:
            _check_parts(value)
        except InputError as error:
            fault, _, cure = str(error).rpartition(": ")
            raise ConfigError(f"config: {key}: {fault}; {cure}") from error

    return check


def score_files(labels: Iterable[str]) -> list[str]:
    """The files of head scores that labels name: "sparsemm[scores=retrieval_heads.json]"."""
    named = (split_label(label).settings.get("scores") for label in labels)
    return sorted({file for file in named if file})


def _check_parts(label: str) -> None:
    label_values(
        label,
        lambda name: fields_of(METHODS[name].policy),
        lambda name: fields_of(f"rankers.{RANKERS[name].ranker}"),
    )
    for file in score_files([label]):
        if not Path(file).is_file():
            raise InputError(
                f"policy {label!r}: there is no file {file}: give head scores in the published format"
            )
