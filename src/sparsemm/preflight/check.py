"""The whole preflight: asks, estimates and compares; what is missing becomes one line each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsemm.benchmarks import get_benchmark
from sparsemm.benchmarks.named import named_sources
from sparsemm.errors import InputError
from sparsemm.preflight.access import Found, ask, text_of
from sparsemm.preflight.calibration import Calibration, calibrate
from sparsemm.preflight.disk import RESULT_ROW_BYTES, Need, Volume, need_of, volumes
from sparsemm.preflight.hours import Speed, speed_of
from sparsemm.preflight.machine import Machine, this_machine
from sparsemm.preflight.memory import Memory, job_memory
from sparsemm.preflight.plan import Model, Stage, Task, data_of, stages, tasks
from sparsemm.preflight.sizes import UnknownSizes, read_sizes
from sparsemm.preflight.weights import hub_weights, local_weights
from sparsemm.sources.fetching import MODEL_MARKER, check_family, read_marker
from sparsemm.sources.lock import LOCK_FILE


@dataclass(frozen=True)
class Asked:
    """What Snakemake knows of a run.

    Attributes:
        config: the checked configuration, narrowed.
        cells: (policy label, budget) pairs by benchmark.
        jobs: number of jobs by rule.
        results: the run's folder.
        gpus: of `--resources gpu=N`.
    """

    config: Mapping[str, Any]
    cells: Mapping[str, Sequence[Sequence[Any]]]
    jobs: Mapping[str, int]
    results: Path
    gpus: int


@dataclass
class Checked:
    """What preflight found. `faults` stop a run or part of it; `warnings` do not."""

    asked: Asked
    machine: Machine
    device: str
    speed: Speed
    found: list[Found]
    needs: list[Need] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)
    memory: list[tuple[Task, Memory]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    calibration: Calibration = field(default_factory=lambda: Calibration({}, 0, 0))
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        """Bytes that a job may hold on its device; 0: unknown."""
        if self.device == "cpu":
            return self.machine.memory
        return min((gpu.memory for gpu in self.machine.gpus), default=0)


def preflight(asked: Asked, machine: Machine | None = None) -> Checked:
    """Check a run before it starts. Downloads nothing but metadata, and runs no model.

    Args:
        asked: the run.
        machine: what there is; this machine by default.
    """
    machine, config = machine or this_machine(), asked.config
    cpu = config["device"] == "cpu" or asked.gpus == 0 or (config["device"] == "auto" and not machine.gpus)
    device = "cpu" if cpu else "cuda"
    found = ask(named_sources(config["models"], config["benchmarks"], config["probe"]), Path(LOCK_FILE))
    checked = Checked(asked, machine, device, speed_of(machine, device), found)
    checked.faults += [each.fault for each in found if each.fault]
    models = _models(checked)
    run = tasks(config, models, asked.cells)
    _check_disk(checked)
    _check_memory(checked, run)
    _check_captions(checked)
    _plan(checked, models, run)
    return checked


def _models(checked: Checked) -> dict[str, Model]:
    """The models whose sizes can be read; a fault for each other one that the hub did not answer for already."""
    answers = {each.named.key: each for each in checked.found}
    models = {}
    for name, entry in checked.asked.config["models"].items():
        answer = answers.get(f"models.{name}")
        if answer is not None and answer.fault:
            continue
        try:
            models[name] = _model(name, entry, answer)
        except UnknownSizes as error:
            checked.warnings.append(f"models.{name}: {error}; its memory and hours are not known")
        except InputError as error:
            checked.faults.append(f"models.{name}: {error}")
    return models


def _model(name: str, entry: Mapping[str, Any], answer: Found | None) -> Model:
    if answer is None or answer.source is None:
        folder, marker = Path(entry["path"]), Path(MODEL_MARKER.format(model=name))
        if answer is not None and not folder.is_dir():
            folder = Path(read_marker(marker)["folder"])
        if not folder.is_dir():
            raise InputError(f"{folder} is not there; set models.{name}.hub, or correct the path")
        check_family(folder, entry["family"], str(folder))
        return Model(name, entry, read_sizes(folder / "config.json"), local_weights(folder))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "config.json"
        file.write_text(text_of(answer.source, "config.json"), encoding="utf-8")
        check_family(Path(place), entry["family"], f"model {answer.source.id}")
        return Model(name, entry, read_sizes(file), hub_weights(answer.source))


def _check_disk(checked: Checked) -> None:
    config, machine = checked.asked.config, checked.machine
    for each in checked.found:
        rows = of_split = None
        if each.named.key.startswith("benchmarks."):
            name = each.named.key.partition(".")[2]
            entry = config["benchmarks"][name]
            of_split = data_of(name, entry).rows
            rows = None if entry["samples"] == "all" else entry["samples"]
        try:
            need = need_of(each, machine, rows, of_split)
        except InputError as error:
            checked.faults.append(f"{each.named.key}: {error}")
            continue
        if need is not None:
            checked.needs.append(need)
    checked.needs.append(Need("results", checked.asked.results, _result_bytes(checked)))
    checked.volumes = volumes(checked.needs, machine)
    for volume in checked.volumes:
        if volume.missing > volume.free:
            places = ", ".join(str(place) for place in volume.places)
            checked.faults.append(
                f"disk: {gb(volume.missing)} are still to be stored in {places}, {gb(volume.free)} are free; "
                "free some, or set HF_HOME to another disk"
            )


def _result_bytes(checked: Checked) -> int:
    config, rows = checked.asked.config, 0
    for name, entry in config["benchmarks"].items():
        used = data_of(name, entry).used(entry["samples"]) or 0
        rows += used * len(checked.asked.cells[name]) * len(entry.get("models", config["models"]))
    return 2 * RESULT_ROW_BYTES * rows


def _check_memory(checked: Checked, run: Sequence[Task]) -> None:
    window, device, capacity = checked.asked.config["window"], checked.device, checked.capacity
    for task in run:
        held = job_memory(task.model.sizes, task.model.weights, task.work(window, device))
        checked.memory.append((task, held))
        if not capacity or held.peak <= capacity:
            continue
        what = f"memory: {task.model.name} on {task.benchmark} may hold {gb(held.peak)} of {gb(capacity)}"
        one = job_memory(task.model.sizes, task.model.weights, task.work(window, device, 1))
        if one.peak <= capacity:
            checked.warnings.append(f"{what}; its batches will be halved: lower batch_size")
        else:
            checked.faults.append(
                f"{what}, {gb(one.peak)} at batch size 1; use a larger device or fewer budgets"
            )
    if device == "cuda" and not checked.machine.gpus:
        checked.warnings.append(
            "memory: no GPU is visible here, so that nothing is compared; run preflight where the jobs will run"
        )


def _check_captions(checked: Checked) -> None:
    names = [name for name in checked.asked.config["benchmarks"] if get_benchmark(name).metric == "CIDEr"]
    lacks = [
        what
        for there, what in ((checked.machine.java, "Java"), (checked.machine.captions, "pycocoevalcap"))
        if not there
    ]
    if names and lacks:
        checked.warnings.append(
            f"{', '.join(names)}: {' and '.join(lacks)} not found; predictions are kept without a score: install "
            "Java and sparsemm[captions]"
        )


def _plan(checked: Checked, models: Mapping[str, Model], run: Sequence[Task]) -> None:
    by_name = {(task.model.name, task.benchmark): task for task in run}

    def modelled(model: str, benchmark: str, rows: int) -> float | None:
        task = by_name.get((model, benchmark))
        return None if task is None else task.seconds(rows, 1, len(task.cells), checked.speed)

    checked.stages = stages(checked.asked.config, models, run, checked.speed)
    checked.calibration = calibrate(checked.asked.results, checked.device, modelled)
    unknown = sorted({task.benchmark for task in run if task.rows is None})
    if unknown:
        checked.warnings.append(
            f"benchmarks.{', '.join(unknown)}: rows are not known before it is fetched; its hours are not counted"
        )


def gb(size: int) -> str:
    """Bytes as a short text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
