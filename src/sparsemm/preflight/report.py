"""Preflight's report as Markdown: what was found in tables, faults and warnings a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sparsemm.preflight.check import Checked, gb


def report(checked: Checked) -> str:
    """The report's text, ends with a line break."""
    return "\n".join(_lines(checked)) + "\n"


def _lines(checked: Checked) -> Iterator[str]:
    config = checked.asked.config
    part = "" if config["limit"] is None else f", limit {config['limit']}"
    yield f"# Preflight of the run {config['run']}{part}"
    yield from _access(checked)
    yield from _disk(checked)
    yield from _memory(checked)
    yield from _plan(checked)
    yield from ("", "## What is missing", "")
    yield from [f"- fault: {fault}" for fault in checked.faults]
    yield from [f"- warning: {warning}" for warning in checked.warnings]
    if not checked.faults:
        yield "Nothing that stops the run." if checked.warnings else "Nothing."


def _access(checked: Checked) -> Iterator[str]:
    yield from ("", "## Access", "")
    yield f"A token {'is' if checked.machine.token else 'is not'} set."
    if not checked.found:
        yield "Nothing of this configuration comes from the hub."
        return
    rows = []
    for each in checked.found:
        name = each.source.id if each.source else ", ".join(each.named.wanted.ids)
        rows.append([each.named.key, name, each.source.commit[:12] if each.source else "", each.says])
    yield from _table(["for", "repository", "commit", "access"], rows)


def _disk(checked: Checked) -> Iterator[str]:
    yield from ("", "## Disk")
    rows = [[need.key, gb(need.total), gb(need.there), str(need.place)] for need in checked.needs]
    yield from _table(["for", "in the end", "there now", "goes to"], rows)
    yield ""
    for volume in checked.volumes:
        places = ", ".join(str(place) for place in volume.places)
        yield f"Still to come {gb(volume.missing)}, free {gb(volume.free)}: {places}"


def _memory(checked: Checked) -> Iterator[str]:
    yield from ("", "## Memory of an evaluation job at its peak", "")
    if checked.device == "cpu":
        yield f"Estimated, against the host's {gb(checked.capacity)} (weights in float32)."
    elif checked.capacity:
        names = ", ".join(f"{gpu.name} with {gb(gpu.memory)}" for gpu in checked.machine.gpus)
        yield f"Estimated, against {names}."
    else:
        yield "Estimated; the GPU's memory is unknown."
    yield "From above: answers are as long as they may get and prompts as long as the images' limits allow."
    rows = []
    for task, held in checked.memory:
        work = task.work(checked.asked.config["window"], checked.device)
        parts = [held.weights, held.prompts, held.layer, held.ranks, held.rows, held.new_tokens]
        activations = max(held.prefill, held.decode)
        cells = [gb(size) for size in (*parts, activations, held.peak)]
        rows.append([task.model.name, task.benchmark, work.batch, work.tokens, *cells])
    columns = [
        "model",
        "benchmark",
        "batch",
        "longest prompt",
        "weights",
        "prompts' K, V",
        "one layer's K, V",
    ]
    columns += ["ranks", "rows of all cells", "new tokens", "activations, logits", "peak"]
    yield from _table(columns, rows)


def _plan(checked: Checked) -> Iterator[str]:
    yield from ("", "## Plan", "")
    jobs = ", ".join(f"{count} {rule}" for rule, count in checked.asked.jobs.items() if count)
    yield f"{sum(checked.asked.jobs.values())} jobs: {jobs}."
    hours, rows = 0.0, []
    for stage in checked.stages:
        seconds = stage.seconds
        if seconds is not None:
            seconds *= checked.calibration.factors.get(stage.model, 1.0)
            hours += seconds / 3600
        shown = "unknown" if seconds is None else f"{seconds / 3600:.2f}"
        count = "unknown" if stage.rows is None else f"{stage.rows:,}"
        rows.append([stage.name, stage.model, stage.benchmark, stage.jobs, count, stage.cells, shown])
    yield from _table(["stage", "model", "benchmark", "jobs", "rows = prefills", "cells", "hours"], rows)
    yield ""
    unit = "GPU-hours" if checked.device == "cuda" else "hours"
    yield f"Estimated: {hours:.1f} {unit} in all, one job after the other. This is a model's number, not a measurement."
    yield f"Model: {checked.speed.says}."
    yield f"It is {checked.calibration.says}."


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
