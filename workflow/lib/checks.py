"""What must hold of a configuration before any job starts; each fault is one line: key, what is wrong, the cure.

In place of a JSON schema and `snakemake.utils.validate`, whose message is twenty lines of schema and names neither a
near key nor a cure, and which cannot compare two keys.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from sparsemm.methods import (
    CONVENTIONS,
    DOCUMENTS,
    GENERATIONS,
    MASKINGS,
    MATCHINGS,
    NO_MATCH,
    POSITIONS,
    PROBE_KINDS,
    QUESTIONS,
    RANKINGS,
)

from names import BENCHMARK_NAMES, COMPRESSING, FAMILY_NAMES, METHOD_NAMES
from policies import policy_label
from seeds import seeds_or_count
from values import Check, ConfigError, either_or, list_of, list_of_two, nearest, number, one_of, text, wrong

Config = dict[str, Any]


def _rows(key: str, value: Any) -> None:
    if isinstance(value, str):
        if value != "largest":
            raise ConfigError(
                f"config: {key.rpartition('.')[0]} has {value!r}; give numbers of rows, or largest for all that fit"
            )
    else:
        _COUNT(key, value)


_NAME = text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, '.', '_' and '-'")
_FILLED = text(r".+", "a text with something in it")
_HUB_ID = text(r"[^/ ]+/[^/ ]+", "an owner/name of the hub")
_COUNT = number(int, least=1)
_ZERO_OR_MORE = number(int, least=0)
_SHARE = number(int, float, least=0, most=1)
_BUDGETS = list_of(_COUNT)
_FRACTIONS = list_of(number(int, float, least=0, most=1, above=0))
_PINPOINTS = list_of(list_of_two)

# Every key of the configuration, as config/README.md spells and explains it. Defaults are in config/config.yaml alone.
KEYS: dict[str, Check] = {
    "run": _NAME,
    "seed": _ZERO_OR_MORE,
    "device": one_of(["auto", "cpu", "cuda"]),
    "limit": either_or(None, _COUNT),
    "rules": one_of(["paper", "current"]),
    "generation": one_of(GENERATIONS),
    "models.<name>.path": _FILLED,
    "models.<name>.adapter": _FILLED,
    "models.<name>.text_adapter": _FILLED,
    "models.<name>.family": one_of(FAMILY_NAMES),
    "models.<name>.dtype": one_of(["float32", "float16", "bfloat16"]),
    "models.<name>.hub": _HUB_ID,
    "models.<name>.revision": _FILLED,
    "models.<name>.prompt": one_of(["template", "rules"]),
    "models.<name>.min_pixels": _COUNT,
    "models.<name>.max_pixels": _COUNT,
    "models.<name>.pinpoints": _PINPOINTS,
    "models.<name>.documents": one_of(DOCUMENTS),
    "probe.source": _FILLED,
    "probe.hub": _HUB_ID,
    "probe.revision": _FILLED,
    "probe.split": _NAME,
    "probe.images": _COUNT,
    "probe.prompt": _FILLED,
    "probes.<name>.kind": one_of(PROBE_KINDS),
    "probes.<name>.images": _COUNT,
    "probes.<name>.source": _FILLED,
    "probes.<name>.prompt": _FILLED,
    "scoring.max_new_tokens": _COUNT,
    "scoring.batch_size": _COUNT,
    "scoring.convention": one_of(CONVENTIONS),
    "scoring.matching": one_of(MATCHINGS),
    "scoring.positions": one_of(POSITIONS),
    "scoring.no_match": one_of(NO_MATCH),
    "policies": list_of(policy_label(COMPRESSING)),
    "question": list_of(one_of(QUESTIONS)),
    "budgets": _BUDGETS,
    "window": _COUNT,
    "kernel": _COUNT,
    "ranking.dtype": one_of(RANKINGS),
    "rho": _SHARE,
    "beta": _COUNT,
    "floor": _SHARE,
    "benchmarks.<name>.samples": either_or("all", _COUNT),
    "benchmarks.<name>.shards": _COUNT,
    "benchmarks.<name>.max_new_tokens": _COUNT,
    "benchmarks.<name>.questions": _COUNT,
    "benchmarks.<name>.hub": list_of(_HUB_ID),
    "benchmarks.<name>.revision": _FILLED,
    "benchmarks.<name>.batch_size": _COUNT,
    "benchmarks.<name>.budgets": _BUDGETS,
    "benchmarks.<name>.models": list_of(_NAME, least=0),
    "ablations.rho.benchmark": _NAME,
    "ablations.rho.budget": _COUNT,
    "ablations.rho.values": list_of(_SHARE),
    "ablations.parts.benchmark": _NAME,
    "ablations.parts.budgets": _BUDGETS,
    "ablations.probe.benchmark": _NAME,
    "ablations.probe.budgets": _BUDGETS,
    "masking.how": one_of(MASKINGS),
    "masking.benchmarks": list_of(_NAME, least=0),
    "masking.samples": _COUNT,
    "masking.fractions": _FRACTIONS,
    "masking.seeds": seeds_or_count(),
    "masking.batch_size": _COUNT,
    "emergence.pages": _COUNT,
    "emergence.masked_pages": _COUNT,
    "emergence.fractions": _FRACTIONS,
    "emergence.seeds": seeds_or_count(),
    "emergence.batch_size": _COUNT,
    "recipes.images": _COUNT,
    "recipes.samples": _COUNT,
    "recipes.size": _COUNT,
    "recipes.groups": either_or("all", _COUNT),
    "attention_maps.images": _COUNT,
    "attention_maps.heads": _COUNT,
    "efficiency.tokens": list_of(_COUNT),
    "efficiency.batches": list_of(_rows, least=0),
    "efficiency.policies": list_of(policy_label(METHOD_NAMES, settings=False)),
    "efficiency.budget": _COUNT,
    "efficiency.window": _COUNT,
    "efficiency.new_tokens": _COUNT,
    "efficiency.repeats": _COUNT,
    "efficiency.warmup": _ZERO_OR_MORE,
}
OPTIONAL = {
    "models.<name>.path",
    "models.<name>.adapter",
    "models.<name>.text_adapter",
    "models.<name>.hub",
    "models.<name>.revision",
    "models.<name>.prompt",
    "models.<name>.min_pixels",
    "models.<name>.max_pixels",
    "models.<name>.pinpoints",
    "models.<name>.documents",
    "probe.hub",
    "probe.revision",
    "probe.split",
    "probes.<name>.source",
    "probes.<name>.prompt",
    "benchmarks.<name>.max_new_tokens",
    "benchmarks.<name>.questions",
    "benchmarks.<name>.hub",
    "benchmarks.<name>.revision",
    "benchmarks.<name>.budgets",
    "benchmarks.<name>.models",
    "ablations.rho",
    "ablations.parts",
    "ablations.probe",
    "emergence",
    "recipes",
}
_FREE_NAMES: dict[str, Check] = {"models": _NAME, "probes": _NAME, "benchmarks": one_of(BENCHMARK_NAMES)}
_MAY_BE_EMPTY = {"probes"}


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
    if free := _FREE_NAMES.get(where):
        if not section and where not in _MAY_BE_EMPTY:
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
