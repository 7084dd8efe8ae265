"""Kill the whole workflow at random moments, run it again, and compare the end with an undisturbed run.

    PYTHONPATH=tests:tests/workflow python tests/faults/run_kills.py [--kills 10] [--seed 0] [--folder FOLDER]

The mini configuration of the tests runs to its end in one copied project. In another it is killed with `kill -9`, all
its jobs with it, at moments drawn from the seed, unlocked and started again; where it ends before the kills are used
up, some of its results are removed, so that kills fall into every stage. The results of both must then agree: the same
bytes in every result file but those of times. A step of .ci/run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

from sparsemm.reporting.against import BYTES, MEASURED, compare_runs

from project import ROOT, make_project, save_mini_model, snakemake

RUN = "results/mini"
MINI = ("--configfile", "config/mini.yaml")
_LONGEST = 30.0  # seconds from a start to its kill


def project_in(folder: Path) -> Path:
    """A copied project with a random model and the mini configuration."""
    project = make_project(folder, copy=True)
    mini = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    (project / "config/mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    save_mini_model(project / "data/models/mini")
    return project


def to_its_end(project: Path) -> None:
    """Run to the end."""
    done = snakemake(project, *MINI)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def killed(project: Path, seconds: float) -> str | None:
    """Start, kill after so many seconds; the rules that were under way, or None if the run ended before.

    Raises:
        AssertionError: if the run ended with an error.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *MINI],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        _, said = child.communicate()
        rules = re.findall(r"^(?:local)?rule (\w+):", said, flags=re.MULTILINE)
        return ", ".join(rules[-2:]) or "no job yet"
    assert child.returncode == 0, said[-4000:]
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="kept; default: a temporary one")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.folder or made)
        calm, rough = project_in(folder / "calm"), project_in(folder / "rough")
        begin = time.monotonic()
        to_its_end(calm)
        print(f"undisturbed: {time.monotonic() - begin:.0f} s", flush=True)
        under_way: Counter[str] = Counter()
        for number in range(options.kills):
            seconds = rng.uniform(1.0, _LONGEST)
            while (rules := killed(rough, seconds)) is None:
                files = sorted((rough / RUN).rglob("*.parquet"))
                for file in rng.sample(files, len(files) // 3):
                    file.unlink()
            under_way[rules] += 1
            print(f"kill {number + 1} after {seconds:.1f} s: {rules}", flush=True)
            subprocess.run(
                [sys.executable, "-m", "snakemake", "--unlock", "--cores", "1", *MINI],
                cwd=rough,
                check=True,
                capture_output=True,
            )
        to_its_end(rough)
        agreement = compare_runs(rough / RUN, calm / RUN)
        wrong = [each for each in agreement if each.how not in (BYTES, MEASURED)]
        for each in wrong:
            print(f"{each.file}: {each.how} {each.detail}")
        left = list((rough / RUN / "work").rglob("*")) if (rough / RUN / "work").exists() else []
        print(
            f"{options.kills} kills, seed {options.seed}: {len(agreement)} files, {len(wrong)} differ, "
            f"{sum(path.is_file() for path in left)} resume parts left"
        )
        assert not wrong


if __name__ == "__main__":
    main()
