"""Checks of single values of a configuration: numbers, texts, names, lists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sparsemm.errors import one_line

Check = Callable[[str, Any], None]  # (key, value); raises ConfigError


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def wrong(key: str, fault: str) -> NoReturn:
    """Raise ConfigError for a value that does not fit its key."""
    raise ConfigError(f"config: {key}: {fault}; config/README.md gives its meaning and unit")


def number(*kinds: type, least: float, most: float | None = None, above: float | None = None) -> Check:
    """A number of one of `kinds`, from `least` or `above` it to `most`."""
    kind = "number" if float in kinds else "integer"

    def check(key: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, kinds):
            wrong(key, f"{value!r} is not of type {kind!r}")
        if above is not None and not value > above:
            wrong(key, f"{value} is not above {above}")
        if not value >= least:
            wrong(key, f"{value} is less than the minimum of {least}")
        if most is not None and not value <= most:
            wrong(key, f"{value} is greater than the maximum of {most}")

    return check


def text(pattern: str, form: str) -> Check:
    """A string that `pattern` matches; `form` says in words what that is."""

    def check(key: str, value: Any) -> None:
        if not isinstance(value, str):
            wrong(key, f"{value!r} is not of type 'string'")
        if not re.fullmatch(pattern, value, flags=re.DOTALL):
            wrong(key, f"{value!r} is not {form}")

    return check


def flag(key: str, value: Any) -> None:
    """true or false."""
    if not isinstance(value, bool):
        wrong(key, f"{value!r} is not true or false")


def one_of(known: Iterable[str]) -> Check:
    names = list(known)

    def check(key: str, value: Any) -> None:
        if value not in names:
            raise ConfigError(f"config: {key} has the unknown value {value!r}; {nearest(str(value), names)}")

    return check


def list_of(item: Check, *, least: int = 1) -> Check:
    """A list without repeats of at least `least` entries."""

    def check(key: str, value: Any) -> None:
        if not isinstance(value, list):
            wrong(key, f"{value!r} is not of type 'array'")
        if len(value) < least:
            wrong(key, f"{value} should be non-empty")
        for index, entry in enumerate(value):
            item(f"{key}.{index}", entry)
            if entry in value[:index]:
                wrong(key, f"{entry!r} is there twice")

    return check


def either_or(word: str | None, check: Check) -> Check:
    """`word` as it is (null for None), or what `check` takes."""

    def either(key: str, value: Any) -> None:
        if value != word:
            check(key, value)

    return either


def list_of_two(key: str, value: Any) -> None:
    """[height, width] in px."""
    if not (
        isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
    ):
        wrong(key, f"{value!r} is not [height, width] in px")


def nearest(word: str, known: list[str]) -> str:
    """The cure for a name that is not known: the nearest of those that are, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
