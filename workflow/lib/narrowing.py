"""A part of an experiment: `--config models=... benchmarks=...` and `--config limit=n`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from sparsemm.embedded.smol.package import fault

from checks import Config
from values import ConfigError, nearest

DEFAULT_FILE = "config/config.yaml"
_BATCH = 4  # samples at once in a limited run: an untrained model's answers go on to the last token
_ROWS_A_SHARD = 100  # of a limited run: few rows are not worth a model's start each


def selected(config: Config, overrides: list[str]) -> Config:
    """`config` with only the models and benchmarks that `--config` names, as "a", "a,b" or a list.

    Ablations and masked runs of benchmarks that are left out are left out with them.

    Args:
        config: `models` and `benchmarks` may be names in place of sections.
        overrides: the configuration files, the last one first asked for the sections.

    Raises:
        ConfigError: for a name that no section has.
    """
    result = dict(config)
    for section in ("models", "benchmarks"):
        names = result[section]
        if isinstance(names, dict):
            continue
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
        known = _section(section, overrides)
        for name in names or []:
            if name not in known:
                raise ConfigError(f"config: {section} names {name!r}; {nearest(str(name), list(known))}")
        result[section] = {name: known[name] for name in names or []}
    left = _section("benchmarks", overrides).keys() - result["benchmarks"].keys()
    if not isinstance(config["benchmarks"], dict):
        result = _without_benchmarks(result, left)
    if not isinstance(config["models"], dict):
        result["benchmarks"] = {
            name: _of_models(entry, result["models"]) for name, entry in result["benchmarks"].items()
        }
    if _named("models", overrides) and not _named("benchmarks", overrides):
        result = _of_these_models(result)  # the default's benchmarks with other models
    return result


def _named(section: str, overrides: list[str]) -> bool:
    """Whether a configuration file that is passed has the section."""
    return any(
        section in (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}) for path in overrides
    )


def _of_these_models(config: Config) -> Config:
    """`config` without benchmarks, and what stands on them, that are for other models than its own."""
    of_models = {name: _of_models(entry, config["models"]) for name, entry in config["benchmarks"].items()}
    benchmarks = {name: entry for name, entry in of_models.items() if entry.get("models") != []}
    return _without_benchmarks(config | {"benchmarks": benchmarks}, of_models.keys() - benchmarks.keys())


def without_base(config: Config) -> tuple[Config, str | None]:
    """`config` without models whose language model, in a Python package, is not installed, and a line that says so.

    A model that alone is asked for stays, and its job says what is missing; so does one that this run has results of.
    """
    wrong = fault()
    made = Path("results") / str(config["run"])
    left = [
        name
        for name, model in config["models"].items()
        if "adapter" in model
        and not (made / f"checkpoints/{name}/model.safetensors").exists()
        and not (made / f"scores/{name}.parquet").exists()
    ]
    if wrong is None or not left or len(left) == len(config["models"]):
        return config, None
    models = {name: model for name, model in config["models"].items() if name not in left}
    result = _of_these_models(config | {"models": models})
    return result, f"config: {', '.join(left)} left out of this run: {wrong}"


def limited(config: Config) -> Config:
    """`config` with the first `limit` rows of each benchmark and probe set, the two shortest lengths, one repeat.

    Few shards, batches of a few rows and timings at batch 1 keep a trial short; none of them changes an answer.
    """
    limit = config["limit"]
    if limit is None:
        return config
    result = dict(config)
    result["probe"] = config["probe"] | {"images": min(limit, config["probe"]["images"])}
    result["probes"] = {
        name: entry | {"images": min(limit, entry["images"])} for name, entry in config["probes"].items()
    }
    result["benchmarks"] = {}
    for name, entry in config["benchmarks"].items():
        samples = limit if entry["samples"] == "all" else min(limit, entry["samples"])
        shards = min(entry["shards"], -(-samples // _ROWS_A_SHARD))
        batch = max(entry["batch_size"], min(limit, _BATCH))
        result["benchmarks"][name] = entry | {"samples": samples, "shards": shards, "batch_size": batch}
    result["masking"] = config["masking"] | {"samples": min(limit, config["masking"]["samples"])}
    for section, keys in (("emergence", ("pages", "masked_pages")), ("recipes", ("images", "samples"))):
        if section in config:
            few = {key: min(limit, config[section][key]) for key in keys}
            result[section] = config[section] | few
    efficiency = config["efficiency"]
    result["efficiency"] = efficiency | {
        "tokens": sorted(efficiency["tokens"])[:2],
        "batches": [1],
        "repeats": 1,
    }
    # A trial of the pipeline must not end where a model reads too few pages to have scores.
    result["scoring"] = config["scoring"] | {"no_match": "uniform"}
    return result


def _section(section: str, overrides: list[str]) -> Config:
    """The section of the last file that has it."""
    for path in [*reversed(overrides), DEFAULT_FILE]:
        if Path(path).is_file():
            found: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            if isinstance(found.get(section), dict):
                return found[section]
    return {}


def _without_benchmarks(config: Config, left: Collection[str]) -> Config:
    """`config` without the ablations and masked runs of benchmarks that are left out."""
    masking = config["masking"]
    kept = {part: entry for part, entry in config["ablations"].items() if entry["benchmark"] not in left}
    masked = [name for name in masking["benchmarks"] if name not in left]
    return config | {"masking": masking | {"benchmarks": masked}, "ablations": kept}


def _of_models(entry: Config, models: Config) -> Config:
    """A benchmark's entry with only those of its own models that the run has."""
    if "models" not in entry:
        return entry
    return entry | {"models": [name for name in entry["models"] if name in models]}
