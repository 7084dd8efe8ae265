"""A clock that goes backwards between two stages: what Snakemake does, and what tells that a result is stale."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from sparsemm.results.parquet import read_table, write_table
from sparsemm.results.verify import MADE, verify_files

from project import ROOT, make_project, snakemake

pytestmark = pytest.mark.long

SCORES, KEEP = "results/mini/scores/mini.parquet", "results/mini/keep/mini.parquet"
# The scores are a file of an earlier stage: no model is run here.
CALL = (KEEP, "--allowed-rules", "allocate_budget", "--configfile", "config/mini.yaml")
DAY = 86_400.0


def write_scores(project: Path, seed: int, *, days: float) -> None:
    """Head scores, written by a clock that is so many days ahead of now."""
    values = np.random.default_rng(seed).random(12)
    index = np.arange(12)
    frame = pd.DataFrame(
        {"layer": index // 4, "head": index % 4, "kv_head": index % 4, "score": values / values.sum()}
    )
    for name, value in {"hits": 1, "matched_tokens": 2, "ci_low": 0.0, "ci_high": 1.0}.items():
        frame[name] = value
    write_table(project / SCORES, frame, "scores", {"model": "mini", **dict.fromkeys(MADE, "known")})
    set_clock(project / SCORES, days)


def set_clock(path: Path, days: float) -> None:
    when = time.time() + days * DAY
    os.utime(path, (when, when))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = make_project(tmp_path / "project", copy=True)
    mini = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    (project / "config/mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    return project


def test_an_input_from_the_future_stops_the_run_and_one_that_did_not_change_reruns_nothing(
    project: Path,
) -> None:
    write_scores(project, 0, days=1)
    done = snakemake(project, *CALL)
    assert done.returncode != 0
    assert f"Output {KEEP} has older modification time" in done.stderr
    assert f"than input {SCORES}" in done.stderr
    assert "clock skew" in done.stderr
    set_clock(project / SCORES, 0)  # what `touch` does
    done = snakemake(project, *CALL)
    assert done.returncode == 0, done.stderr
    set_clock(project / SCORES, 1)
    done = snakemake(project, *CALL)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert verify_files(project / "results/mini") == []


def test_an_input_that_is_newer_but_looks_older_is_told_by_verify(project: Path) -> None:
    write_scores(project, 0, days=-1)
    done = snakemake(project, *CALL)
    assert done.returncode == 0, done.stderr
    before = read_table(project / KEEP)
    write_scores(project, 1, days=-2)
    done = snakemake(project, *CALL)
    assert "Nothing to be done" in done.stdout + done.stderr  # by their times
    (fault,) = verify_files(project / "results/mini")
    assert fault.file == "keep/mini.parquet"
    assert fault.text == "was made from another scores/mini.parquet than is there; make it again"
    (project / KEEP).unlink()
    done = snakemake(project, *CALL)
    assert done.returncode == 0, done.stderr
    assert verify_files(project / "results/mini") == []
    assert not read_table(project / KEEP).equals(before)
