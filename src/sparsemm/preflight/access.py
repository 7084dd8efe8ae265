"""Which repositories of the hub a run needs, and whether this user may read them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemm.benchmarks import get_benchmark
from sparsemm.errors import InputError
from sparsemm.sources.fetching import MODEL_MARKER, PROBE_MARKER, is_own_copy
from sparsemm.sources.hub import check_access, fetch
from sparsemm.sources.lock import Source, read_lock
from sparsemm.sources.obtain import find_locked, resolve_first

_AT_ONCE = 8  # a hub out of reach is waited for once, not once a repository


@dataclass(frozen=True)
class Wanted:
    """A repository that the configuration names.

    Attributes:
        key: where, such as "models.qwen2-vl-7b".
        kind: "model" or "dataset".
        ids: hub ids in the order in which they are tried.
        revision: branch, tag or commit.
        parts: of a data set, its (configuration, split) pairs.
        place: where its files will be used from; if they are there, the hub is not needed.
        there: whether they are.
    """

    key: str
    kind: str
    ids: tuple[str, ...]
    revision: str
    parts: tuple[tuple[str, str], ...]
    place: Path
    there: bool


@dataclass(frozen=True)
class Found:
    """What the hub said.

    Attributes:
        wanted: the question.
        source: what the first id that answered holds; None with a fault, and where nothing was asked.
        fault: one line.
    """

    wanted: Wanted
    source: Source | None = None
    fault: str = ""

    @property
    def says(self) -> str:
        """A few words for the report."""
        if self.fault:
            return "no access"
        if self.source is None:
            return "not needed: the files are there"
        return "gated, opened by the token" if self.source.gated else "open"


def repositories(config: Mapping[str, Any]) -> list[Wanted]:
    """Models, data sets and probe set of a configuration, those that come from the hub."""
    found = []
    for name, model in config["models"].items():
        if "hub" in model:
            place, marker = Path(model["path"]), Path(MODEL_MARKER.format(model=name))
            there = place.is_dir() or marker.is_file()
            revision = model.get("revision", "main")
            found.append(Wanted(f"models.{name}", "model", (model["hub"],), revision, (), place, there))
    for name, entry in config["benchmarks"].items():
        benchmark: Any = get_benchmark(name, hub=entry.get("hub"))
        if hasattr(benchmark, "hub"):
            parts: tuple[tuple[str, str], ...] = ((benchmark.config, benchmark.split),)
            if benchmark.join is not None:
                parts += ((benchmark.join.config, benchmark.join.split),)
            place = benchmark.folder
            there = (place / "index.parquet").is_file()
            revision = entry.get("revision", "main")
            found.append(
                Wanted(f"benchmarks.{name}", "dataset", benchmark.hub, revision, parts, place, there)
            )
    probe = config["probe"]
    if probe["source"] != "generated" and "hub" in probe:
        place = Path(probe["source"])
        there = is_own_copy(place) or Path(PROBE_MARKER).is_file()
        parts = (("default", probe.get("split", "train")),)
        revision = probe.get("revision", "main")
        found.append(Wanted("probe", "dataset", (probe["hub"],), revision, parts, place, there))
    return found


def ask(wanted: Sequence[Wanted], lock: Path) -> list[Found]:
    """Ask the hub about every repository whose files are not there yet.

    Args:
        wanted: the repositories.
        lock: the lock file; what it names is asked for at the locked commit.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda each: _ask(each, lock), wanted))


def text_of(source: Source, name: str) -> str:
    """A small text file of a repository, such as config.json; "" where it has none. Nothing stays on the disk."""
    if name not in source.files:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        return (fetch(source, [name], folder) / name).read_text(encoding="utf-8", errors="replace")


def _ask(wanted: Wanted, lock: Path) -> Found:
    if wanted.there:
        return Found(wanted)
    try:
        locked = find_locked(lock, read_lock(lock), wanted.kind, wanted.ids, wanted.revision)
        ids = wanted.ids if locked is None else (locked.id,)
        source = resolve_first(wanted.kind, ids, wanted.revision if locked is None else locked.commit)
        if source.gated:
            check_access(source)
        if wanted.kind == "model":
            _check_model(source)
        return Found(wanted, source)
    except InputError as error:
        return Found(wanted, fault=f"{wanted.key}: {error}")


def _check_model(source: Source) -> None:
    if "config.json" not in source.files:
        raise InputError(f"model {source.id}: no config.json; give a transformers model")
    if not any(name.endswith(".safetensors") for name in source.files):
        raise InputError(
            f"model {source.id}: no safetensors weights, and no others are loaded; give a revision with them"
        )
