"""What a configuration names of the hub (models, data sets, the probe set), and how many samples it asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemm.benchmarks.registry import get_benchmark
from sparsemm.sources.fetching import MODEL_MARKER, PROBE_MARKER, is_own_copy
from sparsemm.sources.obtain import Wanted


@dataclass(frozen=True)
class Named:
    """A repository that a configuration names.

    Attributes:
        key: where, such as "models.qwen2-vl-7b".
        wanted: kind, hub ids and revision.
        place: where its files will be used from.
        there: whether they are, so that the hub is not needed.
        parts: of a data set, its (configuration, split) pairs.
    """

    key: str
    wanted: Wanted
    place: Path
    there: bool
    parts: tuple[tuple[str, str], ...] = ()


def named_sources(
    models: Mapping[str, Any], benchmarks: Mapping[str, Any], probe: Mapping[str, Any]
) -> list[Named]:
    """The repositories that a configuration's models, benchmarks and probe set come from, in this order."""
    found = []
    for name, model in models.items():
        if "hub" in model:
            place, marker = Path(model["path"]), Path(MODEL_MARKER.format(model=name))
            wanted = Wanted("model", (model["hub"],), model.get("revision", "main"))
            found.append(Named(f"models.{name}", wanted, place, place.is_dir() or marker.is_file()))
    for name, entry in benchmarks.items():
        benchmark: Any = get_benchmark(name, hub=entry.get("hub"))
        if hasattr(benchmark, "hub"):
            parts: tuple[tuple[str, str], ...] = ((benchmark.config, benchmark.split),)
            if benchmark.join is not None:
                parts += ((benchmark.join.config, benchmark.join.split),)
            wanted = Wanted("dataset", tuple(benchmark.hub), entry.get("revision", "main"))
            there = (benchmark.folder / "index.parquet").is_file()
            found.append(Named(f"benchmarks.{name}", wanted, benchmark.folder, there, parts))
    if probe["source"] != "generated" and "hub" in probe:
        place = Path(probe["source"])
        wanted = Wanted("dataset", (probe["hub"],), probe.get("revision", "main"))
        there = is_own_copy(place) or Path(PROBE_MARKER).is_file()
        found.append(Named("probe", wanted, place, there, (("default", probe.get("split", "train")),)))
    return found


def samples_for(benchmark: Mapping[str, Any], model: Mapping[str, Any]) -> int | str:
    """How many samples of a benchmark a model is asked, by the entries of both: the fewer, or "all"."""
    asked = [int(entry["samples"]) for entry in (benchmark, model) if entry.get("samples", "all") != "all"]
    return min(asked) if asked else "all"
