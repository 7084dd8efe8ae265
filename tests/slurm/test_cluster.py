"""The Slurm profile on a real Slurm of this machine: shards on devices of their own, and jobs that end badly.

Needs root on Debian, where start-slurm.sh installs what is missing; nothing is left running.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from sparsemm.results.parquet import read_table

from project import ROOT, make_project, save_mini_model

pytestmark = pytest.mark.long

PROFILE = ROOT / "workflow/profiles/slurm"
HERE = ROOT / "tests/slurm"
GPUS = 4
# Of the test's cluster alone: a node whose jobs end within seconds, and whose 24 GB are not those of a GPU server.
FAST = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "1")
RULES = """
rule all:
    input: expand("out/{name}.txt", name=config["names"].split(","))

rule fails:
    output: "out/fails.txt"
    log: "logs/fails.log"
    shell: "echo this is why > {log}; exit 3"

rule waits:
    output: "out/waits.txt"
    shell: "sleep $(cat seconds); echo done > {output}"

rule hungry:
    output: "out/hungry.txt"
    resources: mem_mb=lambda wildcards, attempt: 300 * attempt, runtime=lambda wildcards, attempt: 10 * attempt
    shell: "python3 -c 'import time; held = bytearray(400 << 20); time.sleep(8)'; echo {resources.mem_mb} > {output}"
"""


def _reason() -> str:
    if os.getuid() != 0:
        return "a Slurm daemon needs root"
    if not (shutil.which("slurmctld") or shutil.which("apt-get")):
        return "no Slurm here, and no apt-get to install it"
    return ""


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A running cluster of one node with four made-up GPUs."""
    if reason := _reason():
        pytest.skip(reason)
    knobs = {**os.environ, "SLURM_CI_CPUS": "16", "SLURM_CI_GPUS": str(GPUS)}
    try:
        started = subprocess.run(
            ["bash", str(HERE / "start-slurm.sh")], env=knobs, capture_output=True, text=True, check=False
        )
        if started.returncode == 75:
            pytest.skip(f"Slurm cannot be installed here: {started.stderr.strip().splitlines()[-1]}")
        assert started.returncode == 0, started.stdout + started.stderr
        yield
    finally:
        subprocess.run(["bash", str(HERE / "stop-slurm.sh")], check=True, capture_output=True)


@pytest.fixture
def jobs(tmp_path: Path, slurm: None) -> Path:
    """A folder with RULES, and the project's profile."""
    (tmp_path / "Snakefile").write_text(RULES, encoding="utf-8")
    shutil.copytree(PROFILE, tmp_path / "profile")
    (tmp_path / "seconds").write_text("600")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments, *FAST]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, check=False)


def asked(names: str, *arguments: str) -> list[str]:
    return [*arguments, "--workflow-profile", "profile", "--config", f"names={names}"]


def queue(*arguments: str) -> list[str]:
    shown = subprocess.run(["squeue", "-h", *arguments], capture_output=True, text=True, check=True)
    return shown.stdout.split()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.3)


def running(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Snakemake with the job that waits, which has begun."""
    child = subprocess.Popen(
        command(*asked("waits", *arguments)),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: queue("-t", "R", "-o", "%A"))
    return child


def test_four_shards_run_at_once_on_four_devices(tmp_path: Path, slurm: None) -> None:
    project = make_project(tmp_path / "project")
    config = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    config["benchmarks"]["synth-docvqa"] |= {"samples": 4, "shards": GPUS}
    (project / "mini.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    save_mini_model(project / "data/models/mini")
    files = [f"results/mini/predictions/mini/synth-docvqa/{shard}.parquet" for shard in range(GPUS)]
    small = [f"{rule}:mem_mb=2500" for rule in ("score_heads", "evaluate_shard")]
    small += [f"{rule}:slurm_partition=gpu" for rule in ("score_heads", "evaluate_shard")]
    threads = [f"{rule}=2" for rule in ("score_heads", "evaluate_shard")]
    profile = ("--workflow-profile", "workflow/profiles/slurm", "--configfile", "mini.yaml")
    done = run(project, *files, *profile, "--set-resources", *small, "--set-threads", *threads)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(len(read_table(project / file)) > 0 for file in files) == GPUS
    logs = [
        (project / f"results/mini/logs/predictions/mini/synth-docvqa/{shard}.log").read_text()
        for shard in range(GPUS)
    ]
    devices = [re.search(r"CUDA_VISIBLE_DEVICES=([^)\s]+)", log) for log in logs]
    assert {found.group(1) for found in devices if found} == {"0", "1", "2", "3"}


def test_a_job_that_fails_shows_its_log(jobs: Path) -> None:
    done = run(jobs, *asked("fails", "--retries", "0"))
    assert done.returncode == 1
    assert "this is why" in done.stdout + done.stderr
    assert not (jobs / "out/fails.txt").exists()


def test_a_job_that_needs_more_memory_gets_it_at_its_second_attempt(jobs: Path) -> None:
    done = run(jobs, *asked("hungry"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (jobs / "out/hungry.txt").read_text().strip() == "600"


def test_a_job_that_is_cancelled_by_hand_is_noticed(jobs: Path) -> None:
    child = running(jobs, "--retries", "1")
    subprocess.run(["scancel", *queue("-o", "%A")], check=True)
    until(lambda: queue("-t", "R", "-o", "%A"))  # its retry
    (jobs / "seconds").write_text("0")
    subprocess.run(["scancel", *queue("-o", "%A")], check=True)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 1, said
    assert "waits" in said


def test_after_kill_9_the_documented_way_goes_on(jobs: Path) -> None:
    """docs/cluster.md: the job runs on and has to be cancelled, the folder unlocked, then the same command again."""
    child = running(jobs)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert queue("-t", "R", "-o", "%A")
    subprocess.run(["scancel", *queue("-o", "%A")], check=True)
    until(lambda: not queue("-o", "%A"))
    (jobs / "seconds").write_text("0")
    assert run(jobs, *asked("waits", "--unlock")).returncode == 0
    done = run(jobs, *asked("waits"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (jobs / "out/waits.txt").read_text() == "done\n"


def test_a_node_that_is_drained_and_resumed_goes_on(jobs: Path) -> None:
    node = subprocess.run(["sinfo", "-h", "-o", "%n"], capture_output=True, text=True, check=True)
    (name,) = set(node.stdout.split())
    change = ["scontrol", "update", f"nodename={name}"]
    (jobs / "seconds").write_text("1")
    subprocess.run([*change, "state=drain", "reason=test"], check=True)
    child = subprocess.Popen(
        command(*asked("waits")), cwd=jobs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(lambda: queue("-t", "PD", "-o", "%A"))
    subprocess.run([*change, "state=resume"], check=True)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0, said
