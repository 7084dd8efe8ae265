"""Kill fetches at random moments, fetch again, and compare with an undisturbed fetch."""

from __future__ import annotations

import random
import time
from pathlib import Path

from helpers.fetches import fetched, online
from helpers.hub import Hub, local_hub
from helpers.hub_models import paper_hub
from helpers.kills import Run
from project import make_project, snakemake

CONFIG = ("--configfile", "config/paper.yaml")
# One of each kind: the others are fetched by the same code.
CALL = (
    "data/benchmarks/ocrbench/index.parquet",
    "data/benchmarks/gqa/index.parquet",
    "data/fetched/probe.json",
    "data/fetched/models/qwen2-vl-7b.json",
    *CONFIG,
)


def kill_fetches(folder: Path, kills: int, rng: random.Random) -> int:
    """Kill a fetch so often, at requests of the hub that are drawn; how many files it ended with.

    Before each kill half of the files that were fetched are removed, so that there is something to fetch.
    """
    calm, rough = (
        make_project(folder / "fetch-calm", copy=True),
        make_project(folder / "fetch-rough", copy=True),
    )
    with local_hub(*paper_hub()) as hub:
        _to_its_end(calm, hub)
        whole = len(hub.requests)
        done = 0
        while done < kills:
            _remove_some(rough, rng)
            reached = _killed(rough, hub, rng.randint(1, whole // 3))
            if reached is not None:  # else it ended before
                done += 1
                print(f"fetch killed {done}, after {reached} requests", flush=True)
            unlocked = snakemake(rough, "--unlock", *CONFIG)
            assert unlocked.returncode == 0, unlocked.stderr[-4000:]
        _to_its_end(rough, hub)
    mine, theirs = fetched(rough), fetched(calm)
    wrong = [name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)]
    assert not wrong, f"other bytes: {wrong}"
    return len(mine)


def _remove_some(project: Path, rng: random.Random) -> None:
    """Remove half of what was fetched, and what tells Snakemake that it was."""
    for path in sorted(path for path in (project / "data").rglob("*") if path.is_file()):
        tells = path.name == "index.parquet" or "fetched" in path.parts
        if "paper" not in path.parts and (tells or rng.random() < 0.5):
            path.unlink()


def _to_its_end(project: Path, hub: Hub) -> None:
    done = snakemake(project, *CALL, **online(hub, project))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def _killed(project: Path, hub: Hub, requests: int) -> int | None:
    """Kill a fetch after so many requests; how many there were, or None if it ended before."""
    start = len(hub.requests)
    run = Run(project, *CALL, **online(hub, project))
    while run.code is None and len(hub.requests) - start < requests:
        time.sleep(0.005)
    assert run.code in (None, 0), run.said[-4000:]
    ended = run.code is not None
    run.kill()
    return None if ended else len(hub.requests) - start
