"""Every key of a configuration: what checks its value, and which keys may be left out."""

from __future__ import annotations

from typing import Any

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
from values import Check, ConfigError, either_or, flag, list_of, list_of_two, number, one_of, text


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
    "models.<name>.samples": _COUNT,
    "models.<name>.timed": flag,
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
    "attention_maps.tokens": _COUNT,
    "attention_maps.cells": _COUNT,
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
    "models.<name>.samples",
    "models.<name>.timed",
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
FREE_NAMES: dict[str, Check] = {"models": _NAME, "probes": _NAME, "benchmarks": one_of(BENCHMARK_NAMES)}
MAY_BE_EMPTY = {"probes"}
