"""What must hold of a configuration before any job starts; each fault is one line: key, what is wrong, the cure."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Config = dict[str, Any]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line."""


def replace_sections(config: Config, overrides: list[str], sections: tuple[str, ...]) -> Config:
    """`config` with each of `sections` taken whole from the last of the `overrides` files that names it.

    Snakemake merges a --configfile into the default key by key; models and benchmarks of the default would stay
    beside those of another experiment.
    """
    result = dict(config)
    for path in overrides:
        named = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        result.update({key: named[key] for key in sections if key in named})
    return result


def check(config: Config, schema_path: str | Path) -> None:
    """Raise ConfigError for the first fault of `config` against the schema and between its own values."""
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(
        validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path]
    )
    if errors:
        raise ConfigError(_one_line(errors[0]))
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


def _one_line(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "the top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(str(key) for key in error.instance if key not in known)[0]
        return f"config: unknown key {unknown!r} at {where}; {_nearest(unknown, known)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))[0]
        return f"config: key {missing!r} is missing at {where}; add it as in config/config.yaml"
    if error.validator == "enum":
        known = [str(value) for value in error.validator_value]
        return f"config: {where} has the unknown value {error.instance!r}; {_nearest(str(error.instance), known)}"
    fault = " ".join(error.message.split())
    return f"config: {where}: {fault}; config/README.md gives its meaning and unit"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _check_between(config: Config) -> None:
    window = config["window"]
    budgets = {f"budgets.{value}": value for value in config["budgets"]}
    for name, benchmark in config["benchmarks"].items():
        budgets |= {f"benchmarks.{name}.budgets.{value}": value for value in benchmark.get("budgets", [])}
        for model in benchmark.get("models", []):
            _known(model, config["models"], f"benchmarks.{name}.models", "models")
        samples = benchmark["samples"]
        if benchmark["shards"] > samples:
            raise ConfigError(
                f"config: benchmarks.{name}.shards is {benchmark['shards']} for {samples} samples; "
                "give each shard at least one sample"
            )
    ablations = config["ablations"]
    budgets["ablations.rho.budget"] = ablations["rho"]["budget"]
    budgets |= {f"ablations.parts.budgets.{value}": value for value in ablations["parts"]["budgets"]}
    for key, value in budgets.items():
        _above(key, value, "window", window)
    _above(
        "efficiency.budget",
        config["efficiency"]["budget"],
        "efficiency.window",
        config["efficiency"]["window"],
    )
    batches = config["efficiency"]["batches"]
    wrong = [batch for batch in batches if isinstance(batch, str) and batch != "largest"]
    if wrong:
        raise ConfigError(
            f"config: efficiency.batches has {wrong[0]!r}; give numbers of rows, or largest for all that fit"
        )
    if 1 not in batches:
        raise ConfigError(
            f"config: efficiency.batches {batches} lacks 1, which figure 6 and table 2 show; add it"
        )
    for tokens in config["efficiency"]["tokens"]:
        _above("efficiency.tokens", tokens, "efficiency.budget", config["efficiency"]["budget"])
    for part in ("rho", "parts"):
        _known(
            ablations[part]["benchmark"], config["benchmarks"], f"ablations.{part}.benchmark", "benchmarks"
        )
    for name in config["masking"]["benchmarks"]:
        _known(name, config["benchmarks"], "masking.benchmarks", "benchmarks")
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
            f"config: {key} names {name!r}, which is not under {section}; {_nearest(name, list(known))}"
        )
