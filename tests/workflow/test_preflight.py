"""`snakemake preflight`: exit code, lines and report, against a hub on this machine and with nothing of the hub."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.hub import Hub, local_hub
from helpers.hub_metadata import QWEN, metadata_hub, model
from project import ROOT, make_project, snakemake

pytestmark = pytest.mark.long

TARGET = ("preflight", "--configfile", "config/paper.yaml")
FILES = {
    "data",
    "results",
    "Snakefile",
    "config",
    "workflow",
    "profiles",
    "environment.yml",
    "src",
    ".snakemake",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def online(hub: Hub, home: Path, token: str = "") -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_TOKEN": token}


def test_the_papers_run_with_everything_in_reach(project: Path, tmp_path: Path) -> None:
    with local_hub(*metadata_hub().values()) as hub:
        for _ in range(2):
            done = snakemake(project, *TARGET, **online(hub, tmp_path / "home"))
            assert done.returncode == 0, done.stderr
            assert "# Preflight of the run paper\n" in done.stdout, "it runs whenever it is asked for"
        # Of files, only the models' configurations and the headers of their weights were asked for.
        got = {path.rpartition("/")[2] for method, path in hub.requests if "/resolve/" in path}
        assert got <= {"config.json", "model.safetensors", "README.md"}
    report = (project / "results/paper/preflight.md").read_text(encoding="utf-8")
    assert report in done.stdout
    for heading in ("Access", "Disk", "Memory of an evaluation job at its peak", "Plan", "What is missing"):
        assert f"\n## {heading}\n" in report
    assert "fault:" not in report
    assert re.search(r"^160 jobs: .*122 predictions", report, flags=re.MULTILINE)
    assert re.search(r"^Estimated: [1-9]\d*\.\d GPU-hours", report, flags=re.MULTILINE)
    assert {path.name for path in project.iterdir()} == FILES
    assert not list((project / "data").glob("benchmarks/*/*"))


def test_each_fault_is_a_line_and_the_exit_says_so(project: Path, tmp_path: Path) -> None:
    parts = metadata_hub() | {"models.qwen2-vl-7b": model(QWEN, gated=True, listed=True)}
    parts["benchmarks.gqa"] = replace(parts["benchmarks.gqa"], id="renamed/GQA")
    with local_hub(*parts.values()) as hub:
        done = snakemake(project, *TARGET, **online(hub, tmp_path / "home"))
        opened = snakemake(project, *TARGET, **online(hub, tmp_path / "home", hub.token))
        assert hub.token not in "".join((done.stdout, done.stderr, opened.stdout, opened.stderr))
        assert all(
            hub.token not in path.read_text(encoding="utf-8", errors="replace")
            for path in (project / "results").rglob("*")
            if path.is_file()
        )
    assert done.returncode != 0
    faults = re.findall(r"^- fault: (.*)$", done.stdout, flags=re.MULTILINE)
    assert [fault.partition(":")[0] for fault in faults] == ["models.qwen2-vl-7b", "benchmarks.gqa"]
    assert "gated; accept its licence on the hub and set HF_TOKEN" in faults[0]
    assert "not on the hub" in faults[1]
    assert "preflight: 2 faults, listed above and in results/paper/preflight.md" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert opened.returncode != 0
    assert "gated, opened by the token" in opened.stdout
    assert re.findall(r"^- fault: ([^:]+):", opened.stdout, flags=re.MULTILINE) == ["benchmarks.gqa"]


def test_a_part_of_the_run_is_checked_alone(project: Path, tmp_path: Path) -> None:
    part = ("--config", "models=qwen2-vl-7b", "benchmarks=ocrbench,gqa", "limit=4")
    parts = metadata_hub()
    wanted = {
        parts[key].id for key in ("models.qwen2-vl-7b", "benchmarks.ocrbench", "benchmarks.gqa", "probe")
    }
    with local_hub(*parts.values()) as hub:
        done = snakemake(project, *TARGET, *part, "--resources", "gpu=0", **online(hub, tmp_path / "home"))
        asked = {
            path.split("/revision/")[0].split("s/", 1)[1] for _, path in hub.requests if "/revision/" in path
        }
    assert asked == wanted
    assert "# Preflight of the run paper, limit 4\n" in done.stdout
    assert re.search(
        r"^\| predictions \| qwen2-vl-7b \| ocrbench \| 1 \| 4 \|", done.stdout, flags=re.MULTILINE
    )
    assert "weights in float32" in done.stdout


def test_the_embedded_run_needs_no_hub(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project / "data/models").symlink_to(ROOT / "data/models")
    done = snakemake(project, "preflight", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert "Nothing of this configuration comes from the hub." in done.stdout
    assert done.stdout.count("| predictions | tiny-llava-next-vicuna |") == 3
