"""The factor between an earlier run's measured times and the model's, from the files that it left."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sparsemm.errors import InputError
from sparsemm.results.parquet import read_metadata

FEW_ROWS = 20  # of a job, below which its start weighs more than its rows


@dataclass(frozen=True)
class Calibration:
    """How far the roofline is from what was measured.

    Attributes:
        factors: measured over modelled seconds, by model.
        jobs: finished jobs that were compared.
        rows: their rows.
    """

    factors: Mapping[str, float]
    jobs: int
    rows: int

    @property
    def says(self) -> str:
        """What was used, in a sentence."""
        if not self.jobs:
            return "not calibrated: no timings of an earlier run; `--config limit=20` makes some"
        by_model = ", ".join(f"{name} {factor:.2f}" for name, factor in sorted(self.factors.items()))
        few = self.rows < FEW_ROWS * self.jobs
        note = "; so few rows a job tell more of its start than of its rows" if few else ""
        return f"calibrated by {self.jobs} finished jobs with {self.rows} rows (measured / modelled: {by_model}){note}"


def calibrate(results: Path, device: str, modelled: Callable[[str, str, int], float | None]) -> Calibration:
    """Compare every finished evaluation job on the same kind of device with the model.

    Args:
        results: of the run.
        device: "cpu" or "cuda"; jobs that ran on the other tell nothing.
        modelled: seconds of a job of a model, a benchmark and a number of rows; None for one that the run has not.
    """
    measured: dict[str, float] = {}
    expected: dict[str, float] = {}
    jobs = rows = 0
    for file in sorted(results.glob("benchmarks/predictions/*/*/*.tsv")):
        model, benchmark = file.parts[-3:-1]
        made = results / "predictions" / model / benchmark / f"{file.stem}.parquet"
        seconds, facts = _seconds(file), _facts(made)
        if seconds is None or facts is None or facts.get("device") != device:
            continue
        count = len(set(pq.read_table(made, columns=["sample_id"])["sample_id"].to_pylist()))
        guess = modelled(model, benchmark, count)
        if guess is None:
            continue
        measured[model] = measured.get(model, 0.0) + seconds
        expected[model] = expected.get(model, 0.0) + guess
        jobs, rows = jobs + 1, rows + count
    return Calibration({name: measured[name] / expected[name] for name in measured}, jobs, rows)


def _seconds(file: Path) -> float | None:
    """The mean of column `s` of a file that Snakemake's `benchmark` wrote."""
    try:
        with file.open(encoding="utf-8") as stream:
            found = [float(row["s"]) for row in csv.DictReader(stream, delimiter="\t")]
    except (OSError, KeyError, ValueError, TypeError):
        return None
    return sum(found) / len(found) if found else None


def _facts(file: Path) -> dict[str, Any] | None:
    try:
        return read_metadata(file)
    except InputError:
        return None
