"""Two runs of Snakemake at once: on the same files of one folder, on other files, in two folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sparsemm.results.verify import verify_files

from helpers.kills import Run
from project import ROOT, make_project, snakemake

pytestmark = pytest.mark.long

PAGES, SCENES = "results/mini/probe/llava_next.parquet", "results/mini/probe/sets/wild/plain.parquet"
CONFIG = ("--configfile", "config/mini.yaml")


def project_in(folder: Path) -> Path:
    project = make_project(folder, copy=True)
    mini = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    (project / "config/mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    return project


def test_a_second_run_of_the_same_files_is_refused_and_damages_nothing(tmp_path: Path) -> None:
    one, other = project_in(tmp_path / "one"), project_in(tmp_path / "other")
    first = Run(one, PAGES, *CONFIG)
    try:
        assert first.starts(PAGES)
        first.pause()
        assert first.code is None
        second = snakemake(one, PAGES, *CONFIG)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.stderr
        assert "--unlock" in second.stderr
        assert "Traceback" not in second.stderr
        assert "rule make_probe" not in second.stderr
        # Other files of the same folder, and the same files of another one, do not wait.
        for project, path in ((one, SCENES), (other, PAGES)):
            done = snakemake(project, path, *CONFIG)
            assert done.returncode == 0, done.stderr
        first.go_on()
        assert first.wait() == 0, first.said
    finally:
        first.kill_left()
    assert verify_files(one / "results/mini") == []
    assert (one / PAGES).read_bytes() == (other / PAGES).read_bytes()
    assert "Nothing to be done" in snakemake(one, PAGES, SCENES, *CONFIG).stderr
