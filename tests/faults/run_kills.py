"""Kill the whole workflow at random moments, run it again, and compare the end with an undisturbed run.

    PYTHONPATH=tests:tests/workflow python tests/faults/run_kills.py [--kills 10] [--seed 0] [--folder FOLDER]

The mini configuration of the tests runs to its end in one copied project. In another each kill has a job that is drawn
from the seed, rules first, so that kills fall into every stage. The job's files are removed where they are there, the
workflow is started, killed with `kill -9` while the job runs (with its jobs, or Snakemake alone), and unlocked. After
every kill each result file that is there must have the bytes of the undisturbed run, and after a last run all of them,
tables and figures too; those that show measured times are made once more from the times of the undisturbed run before
they are compared. Then fetches are killed in the same way (`tests/helpers/fetch_kills.py`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from sparsemm.results.files import PARTIAL
from sparsemm.results.verify import verify_files

from helpers.kills import Run, Started, started
from project import ROOT, make_project, save_mini_model, snakemake

RUN = "results/mini"
# Every stage, and of tables and figures those that read most; the others are made in the same way.
SHOWN = ("claims.csv", "table5.csv", "figure4.png", "figure6.png")
TARGETS = (
    *("patches", "scores", "budget", "evaluate", "efficiency", f"{RUN}/recipes/losses/mini.parquet"),
    *(f"{RUN}/paper/{name}" for name in SHOWN),
)
CONFIG = ("--configfile", "config/mini.yaml")
TIMES = ("efficiency", "profile")  # folders of measured times
NOT_COMPARED = ("logs", "benchmarks", "work")
# When: within the job; as soon as one of its files is there; within the job, but Snakemake alone.
MOMENTS = ("within", "within", "written", "within", "alone")
A_PASS = 10  # kills in the order of the stages, before it begins again at the first


def project_in(folder: Path) -> Path:
    """A copied project with a random model and the mini configuration, with one further probe set."""
    project = make_project(folder, copy=True)
    mini = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    del mini["probes"]["shapes"]
    (project / "config/mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    save_mini_model(project / "data/models/mini")
    return project


def to_its_end(project: Path, targets: Sequence[str]) -> str:
    """Run to the end; what Snakemake said."""
    done = snakemake(project, *targets, *CONFIG)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stderr


def results(project: Path) -> dict[str, Path]:
    """The files of the run by their paths in its folder."""
    base = project / RUN
    found = {path.relative_to(base).as_posix(): path for path in sorted(base.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if name.split("/")[0] not in NOT_COMPARED}


def differing(rough: Path, calm: Path) -> list[str]:
    """Files that both projects have, with other bytes."""
    mine, theirs = results(rough), results(calm)
    return [
        name for name in mine.keys() & theirs.keys() if mine[name].read_bytes() != theirs[name].read_bytes()
    ]


def draw(jobs: list[Started], count: int, rng: random.Random) -> Iterator[Started]:
    """Jobs for so many kills: each rule is drawn before any comes again; a few at a time in the order of the stages."""
    by_rule: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        by_rule.setdefault(job.rule, []).append(number)
    rules: list[str] = []
    for first in range(0, count, A_PASS):
        drawn = []
        for _ in range(min(A_PASS, count - first)):
            rules = rules or rng.sample(sorted(by_rule), len(by_rule))
            drawn.append(rng.choice(by_rule[rules.pop()]))
        yield from (jobs[number] for number in sorted(drawn))


def seconds_of(job: Started, project: Path) -> float:
    """How long a job took, from Snakemake's benchmark file."""
    return float((project / job.times).read_text().splitlines()[1].split("\t")[0])


def kill_in(job: Started, moment: str, seconds: float, project: Path, targets: Sequence[str]) -> Run | None:
    """Start the workflow, and kill it when the job has run for so long; None if all of it ended before."""
    for name in job.outputs:
        (project / name).unlink(missing_ok=True)
    run = Run(project, *targets, *CONFIG)
    assert run.starts(job.outputs[0]), f"{job.outputs[0]} was not made again:\n{run.said[-4000:]}"
    end = time.monotonic() + seconds
    if moment == "written":
        while run.code is None and not any((project / name).exists() for name in job.outputs):
            time.sleep(0.002)
    else:
        while run.code is None and time.monotonic() < end:
            time.sleep(0.01)
    if run.code is not None:
        assert run.code == 0, run.said[-4000:]
        return None
    run.kill(jobs_too=moment != "alone")
    assert run.ends_with_its_jobs(), "a job goes on without its Snakemake"
    return run


def disturbed(
    calm: Path, rough: Path, targets: Sequence[str], kills: Iterable[Started], rng: random.Random
) -> Counter[str]:
    """Kill the workflow in each of some jobs, then let it run to its end; the rules that were under way."""
    counts: Counter[str] = Counter()
    runs = []
    try:
        for number, job in enumerate(kills):
            moment = MOMENTS[number % len(MOMENTS)]
            seconds = rng.uniform(0, seconds_of(job, calm))
            while (run := kill_in(job, moment, seconds, rough, targets)) is None:
                seconds /= 2
            runs.append(run)
            rules = run.under_way
            counts.update(set(rules) or {"none"})
            print(f"kill {number + 1}, {moment} {job.rule}, {seconds:.1f} s: {', '.join(rules)}", flush=True)
            done = snakemake(rough, "--unlock", *CONFIG)
            assert done.returncode == 0, done.stderr[-4000:]
            # Times are measured anew, and tables show them.
            wrong = [name for name in differing(rough, calm) if not name.startswith((*TIMES, "paper"))]
            assert not wrong, f"other bytes after a kill: {wrong}"
        to_its_end(rough, targets)
    finally:
        for run in runs:
            run.kill_left()
    return counts


def check_end(rough: Path, calm: Path, targets: Sequence[str]) -> int:
    """Check the end of the disturbed run; how many files were compared."""
    assert verify_files(rough / RUN) == []
    left = [path for path in rough.rglob("*") if PARTIAL in path.name]
    left += [path for path in (rough / RUN / "work").rglob("*") if path.is_file()]
    assert not left, f"left behind: {left}"
    mine = results(rough)
    for name, path in results(calm).items():
        if name.startswith(TIMES):
            shutil.copyfile(path, mine[name])
    said = to_its_end(rough, targets)
    again = {job.rule for job in started(said)}
    assert again <= {"make_table", "draw_figure"}, f"made again from the same files: {again}"
    assert results(rough).keys() == results(calm).keys()
    wrong = differing(rough, calm)
    assert not wrong, f"other bytes: {wrong}"
    return len(mine)


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--fetches", type=int, help="kills of fetches; default: one for every four others")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="of Snakemake; default: every stage")
    parser.add_argument("--folder", help="kept; default: a temporary one")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(options.folder or made)
        calm, rough = project_in(folder / "calm"), project_in(folder / "rough")
        begin = time.monotonic()
        jobs = started(to_its_end(calm, options.targets))
        print(f"undisturbed: {len(jobs)} jobs, {time.monotonic() - begin:.0f} s", flush=True)
        kills = list(draw(jobs, options.kills, rng))
        counts = disturbed(calm, rough, options.targets, kills, rng)
        files = check_end(rough, calm, options.targets)
        under_way = ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items()))
        print(
            f"{options.kills} kills, seed {options.seed}: {files} files with the same bytes; under way: {under_way}"
        )
        fetches = options.kills // 4 if options.fetches is None else options.fetches
        if fetches:
            from helpers.fetch_kills import kill_fetches

            files = kill_fetches(folder, fetches, rng)
            print(f"{fetches} kills of fetches: {files} files with the same bytes")
        print(f"{time.monotonic() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
