"""`snakemake fetch` with the paper's configuration, on a hub of this machine: all of it, after a kill, offline."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sparsemm.benchmarks import get_benchmark
from sparsemm.sources.lock import read_lock

from helpers.fetches import fetched, online
from helpers.hub import Hub, Repository, local_hub
from helpers.hub_models import paper_hub
from project import ROOT, make_project, snakemake

pytestmark = pytest.mark.long

PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))
CALL = ("fetch", "--configfile", "config/paper.yaml")
LOCK = "config/sources.lock.yaml"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with local_hub(*paper_hub()) as hub:
        yield hub


@pytest.fixture(scope="module")
def project(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project into which everything was fetched."""
    project = make_project(tmp_path_factory.mktemp("fetch") / "project", copy=True)
    done = snakemake(project, *CALL, **online(hub, project))
    assert done.returncode == 0, done.stderr
    return project


def test_everything_comes_by_its_true_id_and_only_what_is_needed(hub: Hub, project: Path) -> None:
    lock = read_lock(project / LOCK)
    assert set(lock) == {(each.kind, each.id) for each in hub.repositories}
    for name in PAPER["benchmarks"]:
        benchmark = get_benchmark(name, folder=project / "data/benchmarks" / name)
        samples = list(benchmark.load(None, 0))
        assert len(samples) == 8
        assert {sample.image.open().mode for sample in samples} == {"RGB"}
        assert len(list(benchmark.load(4, 0))) == 4
    for name, model in PAPER["models"].items():
        marker = json.loads((project / f"data/fetched/models/{name}.json").read_text())
        there = {path.name for path in Path(marker["folder"]).iterdir()}
        repository = hub.find("model", model["hub"])
        assert (marker["id"], marker["commit"]) == (model["hub"], repository.commit)
        unwanted = {"README.md", ".gitattributes", "pytorch_model.bin", "modeling_custom.py"}
        assert there == repository.files.keys() - unwanted
        assert not (project / model["path"]).exists()
    for kind, path in ((each.kind, each.id) for each in hub.repositories):
        assert hub.asked(f"{path}/resolve/.*/(other|train_all_images|.*validation-00000-of-00001)") == 0, kind


def test_every_download_is_logged_once(hub: Hub, project: Path) -> None:
    logs = "".join(path.read_text() for path in (project / "results/paper/logs/fetch").rglob("*.log"))
    said = re.findall(r"^fetching (model|dataset) (\S+), (\S+), (\d+) bytes$", logs, flags=re.MULTILINE)
    assert len(set(said)) == len(said) == len(logs.splitlines())
    held = [path for path in fetched(project) if not path.startswith("config/")]
    there = [path for path in held if "/snapshots/" in path or path.endswith((".parquet", "README.md"))]
    assert len(said) == len([path for path in there if not path.endswith("index.parquet")])
    for kind, name, path, size in said:
        assert len(hub.find(kind, name).files[path]) == int(size)


def test_a_second_run_asks_nothing_also_offline_and_from_nothing_but_the_files(
    hub: Hub, project: Path
) -> None:
    before, asked = fetched(project), len(hub.requests)
    offline = online(hub, project) | {"HF_HUB_OFFLINE": "1"}
    done = snakemake(project, *CALL, **offline)
    assert "Nothing to be done" in done.stdout + done.stderr
    for path in project.glob("data/fetched/**/*.json"):
        path.unlink()
    for path in project.glob("data/benchmarks/*/index.parquet"):
        path.unlink()
    done = snakemake(project, *CALL, **offline)
    assert done.returncode == 0, done.stderr
    assert fetched(project) == before
    assert len(hub.requests) == asked


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(hub: Hub, project: Path, tmp_path: Path) -> None:
    other = make_project(tmp_path / "project", copy=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **online(hub, other)}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *CALL]
    start = len(hub.requests)
    for reached in (10, 40):
        with subprocess.Popen(
            command, cwd=other, env=environment, stderr=subprocess.DEVNULL, start_new_session=True
        ) as run:
            while run.poll() is None and len(hub.requests) - start < reached:
                time.sleep(0.02)
            os.killpg(run.pid, signal.SIGKILL)
        snakemake(other, "--unlock", *CALL[1:])
    done = snakemake(other, *CALL, **online(hub, other))
    assert done.returncode == 0, done.stderr
    assert fetched(other) == fetched(project)


def test_a_gated_repository_is_one_line_and_leaves_no_index(tmp_path: Path) -> None:
    found = next(each for each in paper_hub() if each.id == "echo840/OCRBench")
    other = make_project(tmp_path / "project", copy=True)
    with local_hub(Repository("dataset", found.id, found.files, gated=True)) as hub:
        done = snakemake(other, "data/benchmarks/ocrbench/index.parquet", *CALL[1:], **online(hub, other))
    assert done.returncode != 0
    line = (other / "results/paper/logs/fetch/benchmarks/ocrbench.log").read_text()
    assert line.startswith("dataset echo840/OCRBench: gated; accept its licence on the hub and set HF_TOKEN")
    assert len(line.splitlines()) == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert not (other / "data/benchmarks/ocrbench/index.parquet").exists()


def test_a_local_folder_at_the_path_wins(hub: Hub, project: Path, tmp_path: Path) -> None:
    other = make_project(tmp_path / "project", copy=True)
    for model in PAPER["models"].values():
        (other / model["path"]).mkdir(parents=True)
    (other / PAPER["probe"]["source"]).mkdir()
    done = snakemake(other, "--dry-run", *CALL)
    assert "rule fetch_benchmark:" in done.stdout + done.stderr
    assert "rule fetch_model:" not in done.stdout + done.stderr
    assert "rule fetch_probe:" not in done.stdout + done.stderr
