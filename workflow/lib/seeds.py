"""Seeds of a configuration: a list of them, or how many: 20 stands for 0 to 19."""

from __future__ import annotations

from typing import Any

from values import Check, list_of, number

Config = dict[str, Any]


def seeds_or_count() -> Check:
    """A list of seeds without repeats, or the number of them."""
    count, seeds = number(int, least=1), list_of(number(int, least=0))

    def check(key: str, value: Any) -> None:
        (seeds if isinstance(value, list) else count)(key, value)

    return check


def with_seeds(config: Config) -> Config:
    """`config` with a list for every number of seeds."""
    result = dict(config)
    for section in ("masking", "emergence"):
        if section in config and isinstance(config[section]["seeds"], int):
            result[section] = config[section] | {"seeds": list(range(config[section]["seeds"]))}
    return result
