"""What must hold of a configuration before any job starts; each fault is one line: key, what is wrong, the cure.

In place of a JSON schema and `snakemake.utils.validate`, whose message is twenty lines of schema and names neither a
near key nor a cure, and which cannot compare two keys.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from sparsemm.methods import QUESTIONS

from keys import FREE_NAMES, KEYS, MAY_BE_EMPTY, OPTIONAL
from values import ConfigError, nearest, wrong

Config = dict[str, Any]


def replace_sections(config: Config, overrides: list[str], sections: tuple[str, ...]) -> Config:
    """`config` with each of `sections` taken whole from the last of the `overrides` files that names it.

    Snakemake merges a --configfile into the default key by key; models, probe sets and benchmarks of the default
    would stay beside those of another experiment. Names that --config gave in place of a section stay: they choose
    from the files.
    """
    result = dict(config)
    whole = [key for key in sections if isinstance(config.get(key), dict)]
    for path in overrides:
        named = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        result.update({key: named[key] for key in whole if key in named})
    return result


def check(config: Config) -> None:
    """Raise ConfigError for the first fault: an unknown or missing key, a wrong value, a misfit of two."""
    _check_section("", "", config)
    _check_between(config)


def check_writable(folder: str | Path) -> None:
    """Raise ConfigError unless `folder`, or where it is not there yet the nearest folder above it, can be written."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise ConfigError(
            f"{place}: results go to {folder}, which cannot be written; make it a writable folder"
        )


def _check_section(where: str, spelled: str, section: Any) -> None:
    """Check the keys of the section at `where` ("benchmarks.docvqa"), `spelled` as in KEYS ("benchmarks.<name>")."""
    place = where or "the top level"
    prefix = f"{spelled}." if spelled else ""
    below = list(dict.fromkeys(key[len(prefix) :].split(".")[0] for key in KEYS if key.startswith(prefix)))
    if not isinstance(section, dict):
        wrong(place, f"{section!r} is not of type 'object'")
    if free := FREE_NAMES.get(where):
        if not section and where not in MAY_BE_EMPTY:
            wrong(place, "{} should be non-empty")
        for name in section:
            free(where, name)
    else:
        for key in section:
            if key not in below:
                raise ConfigError(f"config: unknown key {key!r} at {place}; {nearest(str(key), below)}")
        for key in below:
            if key not in section and f"{prefix}{key}" not in OPTIONAL:
                raise ConfigError(
                    f"config: key {key!r} is missing at {place}; add it as in config/config.yaml"
                )
    for key, value in section.items():
        inner = f"{prefix}{'<name>' if free else key}"
        full = f"{where}.{key}" if where else key
        if inner in KEYS:
            KEYS[inner](full, value)
        else:
            _check_section(full, inner, value)


def _check_between(config: Config) -> None:
    window = config["window"]
    budgets = {f"budgets.{value}": value for value in config["budgets"]}
    for name, benchmark in config["benchmarks"].items():
        budgets |= {f"benchmarks.{name}.budgets.{value}": value for value in benchmark.get("budgets", [])}
        for model in benchmark.get("models", []):
            _known(model, config["models"], f"benchmarks.{name}.models", "models")
        samples = benchmark["samples"]
        if samples != "all" and benchmark["shards"] > samples:
            raise ConfigError(
                f"config: benchmarks.{name}.shards is {benchmark['shards']} for {samples} samples; "
                "give each shard at least one sample"
            )
    for name, model in config["models"].items():
        if ("path" in model) == ("adapter" in model):
            raise ConfigError(
                f"config: models.{name} needs one of path and adapter; give the folder of a checkpoint as path, "
                "that of an adapter as adapter"
            )
    if QUESTIONS[0] not in config["question"]:
        raise ConfigError(
            f"config: question {config['question']} lacks {QUESTIONS[0]}, which the tables show; add it"
        )
    ablations = config["ablations"]
    if "rho" in ablations:
        budgets["ablations.rho.budget"] = ablations["rho"]["budget"]
    for part in ("parts", "probe"):
        if part in ablations:
            budgets |= {f"ablations.{part}.budgets.{value}": value for value in ablations[part]["budgets"]}
    for key, value in budgets.items():
        _above(key, value, "window", window)
    _above(
        "efficiency.budget",
        config["efficiency"]["budget"],
        "efficiency.window",
        config["efficiency"]["window"],
    )
    batches = config["efficiency"]["batches"]
    if 1 not in batches:
        raise ConfigError(
            f"config: efficiency.batches {batches} lacks 1, which figure 6 and table 2 show; add it"
        )
    for tokens in config["efficiency"]["tokens"]:
        _above("efficiency.tokens", tokens, "efficiency.budget", config["efficiency"]["budget"])
    for part, entry in ablations.items():
        _known(entry["benchmark"], config["benchmarks"], f"ablations.{part}.benchmark", "benchmarks")
    for name in config["masking"]["benchmarks"]:
        _known(name, config["benchmarks"], "masking.benchmarks", "benchmarks")
    recipes, images = config.get("recipes", {}), config["probe"]["images"]
    if recipes.get("images", 0) + recipes.get("samples", 0) > images:
        raise ConfigError(
            f"config: recipes: images and samples are more than probe.images {images}; lower one"
        )
    if config["kernel"] % 2 == 0:
        raise ConfigError(
            f"config: kernel is {config['kernel']}; pooling needs an odd number of positions, such as 5"
        )


def _above(key: str, value: int, limit_key: str, limit: int) -> None:
    if value <= limit:
        raise ConfigError(
            f"config: {key} is {value}, not above {limit_key} {limit}; raise it or lower {limit_key}"
        )


def _known(name: str, known: Config, key: str, section: str) -> None:
    if name not in known:
        raise ConfigError(
            f"config: {key} names {name!r}, which is not under {section}; {nearest(name, list(known))}"
        )
