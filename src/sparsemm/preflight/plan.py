"""The jobs of a run: how many, over how many rows and cells, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sparsemm.benchmarks import get_benchmark
from sparsemm.benchmarks.named import samples_for
from sparsemm.preflight.hours import ANSWER, DRAWN_S, IMAGE_S, Speed, prefill_s, start_s, step_s
from sparsemm.preflight.memory import Work
from sparsemm.preflight.prompts import Prompts, prompts_of
from sparsemm.preflight.sizes import ELEMENT_BYTES, ModelSizes

# Rows of the splits, used until a data set has been fetched.
ROWS = {
    "docvqa": 5349,
    "ocrbench": 1000,
    "textvqa": 5000,
    "chartqa": 2500,
    "textcaps": 3166,
    "mmbench": 4329,
    "gqa": 12578,
    "vqav2": 214354,
}
_LARGEST = 16  # rows that `efficiency.batches: largest` counts as


@dataclass(frozen=True)
class Model:
    """A model of the run: its section of the configuration, sizes, and the numbers that its weights hold."""

    name: str
    entry: Mapping[str, Any]
    sizes: ModelSizes
    weights: int

    def element(self, device: str) -> int:
        """Bytes of a number: on a CPU models run in float32."""
        return 4 if device == "cpu" else ELEMENT_BYTES[self.entry["dtype"]]


@dataclass(frozen=True)
class Data:
    """What is known of a benchmark's rows.

    Attributes:
        rows: of the split; None where nothing says.
        areas: px of every row's image, once the data set has been fetched.
        generated: whether the rows are drawn, as many as are asked for.
    """

    rows: int | None
    areas: tuple[int, ...] = ()
    generated: bool = False

    def used(self, samples: int | str) -> int | None:
        """Rows that a run uses."""
        if samples == "all":
            return self.rows
        return int(samples) if self.rows is None else min(int(samples), self.rows)


@dataclass(frozen=True)
class Stage:
    """Jobs of one kind.

    Attributes:
        rows: that they read; None where it is not known.
        cells: answers a prefill gives.
        seconds: of all jobs, one after the other; None where it cannot be said.
    """

    name: str
    model: str
    benchmark: str
    jobs: int
    rows: int | None
    cells: int
    seconds: float | None


def data_of(name: str, entry: Mapping[str, Any]) -> Data:
    """What is known of a benchmark's rows: from the fetched index, or the list above."""
    benchmark: Any = get_benchmark(name, hub=entry.get("hub"))
    if not hasattr(benchmark, "hub"):
        return Data(None, generated=True)
    index: Path = benchmark.folder / "index.parquet"
    if not index.is_file():
        return Data(ROWS.get(name))
    table = pq.read_table(index, columns=["width", "height"])
    sides = zip(table["width"].to_pylist(), table["height"].to_pylist())
    areas = tuple(width * height for width, height in sides if width and height)
    return Data(table.num_rows, areas)


@dataclass(frozen=True)
class Task:
    """One model on one benchmark."""

    model: Model
    benchmark: str
    entry: Mapping[str, Any]
    cells: Sequence[tuple[str, int]]
    prompts: Prompts
    rows: int | None
    new_tokens: int

    def work(self, window: int, device: str, batch: int | None = None) -> Work:
        """The largest batch, for the memory's estimate."""
        return Work(
            cells=self.cells,
            tokens=self.prompts.longest,
            image_tokens=self.prompts.image,
            window=window,
            new_tokens=self.new_tokens,
            batch=batch or self.entry["batch_size"],
            element=self.model.element(device),
            device=device,
        )

    def seconds(self, rows: int, jobs: int, cells: int, speed: Speed, batch: int | None = None) -> float:
        """Of jobs that answer some rows in some cells."""
        batch = batch or self.entry["batch_size"]
        sizes, tokens, element = self.model.sizes, self.prompts.mean, self.model.element(speed.kind)
        step = step_s(sizes, element, batch * tokens, batch * cells, speed) / batch
        image = DRAWN_S if self.prompts.drawn else IMAGE_S
        row = image + prefill_s(sizes, tokens, speed) + min(self.new_tokens, ANSWER) * step
        return jobs * start_s(self.model.weights * element) + rows * row


def tasks(config: Mapping[str, Any], models: Mapping[str, Model], cells: Mapping[str, Any]) -> list[Task]:
    """Every (model, benchmark) of the run whose model is known."""
    found = []
    for name, entry in config["benchmarks"].items():
        data, benchmark = (
            data_of(name, entry),
            get_benchmark(name, max_new_tokens=entry.get("max_new_tokens"), questions=entry.get("questions")),
        )
        for model in (models[each] for each in entry.get("models", config["models"]) if each in models):
            prompts = prompts_of(
                model.sizes,
                model.entry,
                name,
                rules=config["rules"],
                areas=data.areas,
                generated=data.generated,
            )
            new_tokens = benchmark.generation(model.entry["family"]).max_new_tokens
            pairs = [(str(label), int(budget)) for label, budget in cells[name]]
            rows = data.used(samples_for(entry, model.entry))
            found.append(Task(model, name, entry, pairs, prompts, rows, new_tokens))
    return found


def stages(
    config: Mapping[str, Any], models: Mapping[str, Model], run: Sequence[Task], speed: Speed
) -> list[Stage]:
    """The jobs that run a model, with their times by the roofline."""
    probes = {"probe": config["probe"], **config.get("probes", {})}
    found = [
        _scoring(config, model, name, probe, speed)
        for model in models.values()
        for name, probe in probes.items()
    ]
    masking = config["masking"]
    masks = 1 + len(masking["fractions"]) * (1 + len(masking["seeds"]))
    for task in run:
        jobs, count = task.entry["shards"], len(task.cells)
        seconds = None if task.rows is None else task.seconds(task.rows, jobs, count, speed)
        found.append(Stage("predictions", task.model.name, task.benchmark, jobs, task.rows, count, seconds))
        if task.benchmark in masking["benchmarks"]:
            rows = masks * min(masking["samples"], masking["samples"] if task.rows is None else task.rows)
            seconds = task.seconds(rows, 1, 1, speed, masking["batch_size"])
            found.append(Stage("masked runs", task.model.name, task.benchmark, 1, rows, 1, seconds))
    timed = [model for model in models.values() if model.entry.get("timed", True)]
    return found + [_efficiency(config, model, speed) for model in timed]


def _scoring(
    config: Mapping[str, Any], model: Model, name: str, probe: Mapping[str, Any], speed: Speed
) -> Stage:
    """Scoring on one probe set; a further one is generated unless it says otherwise."""
    images, scoring = probe["images"], config["scoring"]
    generated = probe.get("source", "generated") == "generated"
    prompts = prompts_of(model.sizes, model.entry, "probe", rules=config["rules"], generated=generated)
    tokens = prompts.mean
    element, batch = model.element(speed.kind), scoring["batch_size"]
    step = step_s(model.sizes, element, batch * tokens, batch, speed) / batch
    row = (DRAWN_S if generated else IMAGE_S) + prefill_s(model.sizes, tokens, speed)
    row += scoring["max_new_tokens"] * step
    seconds = start_s(model.weights * element) + images * row
    return Stage("head scores", model.name, name, 1, images, 1, seconds)


def _efficiency(config: Mapping[str, Any], model: Model, speed: Speed) -> Stage:
    asked, element = config["efficiency"], model.element(speed.kind)
    runs = asked["warmup"] + asked["repeats"]
    counts = [_LARGEST if rows == "largest" else rows for rows in asked["batches"]]
    seconds = 0.0
    for tokens in asked["tokens"]:
        seconds += start_s(model.weights * element)
        for rows in counts:
            step = step_s(model.sizes, element, rows * tokens, rows, speed)
            once = rows * prefill_s(model.sizes, tokens, speed) + asked["new_tokens"] * step
            seconds += len(asked["policies"]) * runs * once
    prompts = len(asked["tokens"]) * len(asked["policies"]) * len(counts) * runs
    return Stage("efficiency", model.name, "", len(asked["tokens"]), prompts, 1, seconds)
