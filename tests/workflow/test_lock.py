"""`snakemake lock` with the paper's configuration, on a hub of this machine that knows its models and data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sparsemm.benchmarks import get_benchmark
from sparsemm.sources.lock import read_lock, write_lock

from helpers.hub import Repository, local_hub
from project import ROOT, make_project, snakemake

pytestmark = pytest.mark.long

PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))


def test_lock_names_every_repository_of_the_paper(tmp_path: Path) -> None:
    models = {model["hub"] for model in PAPER["models"].values()}
    data_sets = {get_benchmark(name).hub[0] for name in PAPER["benchmarks"]} | {PAPER["probe"]["hub"]}
    repositories = [Repository("model", name, {"config.json": name.encode()}) for name in models]
    repositories += [Repository("dataset", name, {"data.parquet": name.encode()}) for name in data_sets]
    project = make_project(tmp_path / "project", copy=True)
    with local_hub(*repositories) as hub:
        online = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "",
        }
        done = snakemake(project, "lock", "--configfile", "config/paper.yaml", **online)
        assert done.returncode == 0, done.stderr
        lock, asked = project / "config/sources.lock.yaml", hub.asked("/revision/")
        found, whole = read_lock(lock), lock.read_bytes()
        write_lock(lock, list(found.values())[1:])
        again = snakemake(project, "lock", "--configfile", "config/paper.yaml", **online)
        assert again.returncode == 0, again.stderr
        assert lock.read_bytes() == whole
    assert {name for kind, name in found if kind == "model"} == models
    assert {name for kind, name in found if kind == "dataset"} == data_sets
    assert all(source.commit == hub.find(*key).commit for key, source in found.items())
    assert asked == len(repositories), "one question a repository"
    assert hub.asked("/revision/") == asked + 1, "what is locked is not asked for"
    assert hub.asked("/resolve/") + hub.asked("/resolve/", "HEAD") == 0, "nothing is downloaded"


def test_nothing_to_lock_and_no_hub_are_one_line(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", copy=True)
    done = snakemake(project, "lock")
    assert done.returncode != 0
    assert "nothing of this configuration comes from the hub" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "config/sources.lock.yaml").exists()
