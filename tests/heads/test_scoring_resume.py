"""Scoring that was killed or changed: finished batches are found again, by the same bytes, and only by the same run."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import sparsemm.heads.scoring as scoring
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scoring import score_heads, score_samples

from helpers.probes import NEW, make_probe, settings_of
from helpers.tiny import model, processor


def test_resumes_and_repeats_its_bytes(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = make_probe(variant)
    settings: dict[str, Any] = {
        "max_new_tokens": NEW,
        "batch_size": 2,
        "convention": "all",
        "progress": False,
    }

    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    whole = score_heads(model(variant), processor(), probe, workdir=tmp_path / "a", **settings)
    without = score_heads(model(variant), processor(), probe, **settings)
    again = score_heads(model(variant), processor(), probe, workdir=tmp_path / "b", **settings)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for name, scores in (("0", whole), ("1", without), ("2", again)):
        scores.save(tmp_path / f"{name}.parquet", samples=tmp_path / f"{name}-samples.parquet")
    assert len({(tmp_path / f"{n}.parquet").read_bytes() for n in "012"}) == 1
    assert len({(tmp_path / f"{n}-samples.parquet").read_bytes() for n in "012"}) == 1

    kept = files(tmp_path / "a")
    (tmp_path / "a" / "batch-00001.parquet").unlink()
    (tmp_path / "a" / "batch-00002.parquet").write_bytes(b"torn")
    ran: list[int] = []
    real = scoring._score_batch
    monkeypatch.setattr(scoring, "_score_batch", lambda *a: ran.append(len(a[2])) or real(*a))
    score_heads(model(variant), processor(), probe, workdir=tmp_path / "a", **settings).save(
        tmp_path / "3.parquet"
    )
    assert ran == [2, 1]  # the missing and the torn batch, nothing else
    assert files(tmp_path / "a") == kept
    assert (tmp_path / "3.parquet").read_bytes() == (tmp_path / "0.parquet").read_bytes()


def test_other_settings_probe_or_model_find_nothing_to_resume(tmp_path: Path, monkeypatch: Any) -> None:
    probe = make_probe("mha")
    ran: list[int] = []
    real = scoring._score_batch
    monkeypatch.setattr(scoring, "_score_batch", lambda *a: ran.append(1) or real(*a))

    def run(made: Any = None, items: Any = None, **changes: Any) -> int:
        ran.clear()
        settings = settings_of(**{"max_new_tokens": 4} | changes)
        found = made or model("mha")
        score_samples(found, processor(), items or probe, settings, workdir=tmp_path, progress=False)
        return len(ran)

    assert (run(), run()) == (1, 0)
    assert (run(max_new_tokens=5), run(max_new_tokens=5)) == (1, 0)
    assert run(max_new_tokens=5, convention="all") == 1
    assert (run(max_new_tokens=5, matching="exact"), run(max_new_tokens=5)) == (1, 1)
    moved = [ProbeImage(p.id, p.image, p.words, [(0.0, 0.0, 9.0, 9.0)] * 3) for p in probe]
    assert (run(items=moved), run(items=moved)) == (1, 0)
    other = copy.deepcopy(model("mha"))
    with torch.no_grad():
        next(iter(other.parameters())).add_(0.5)
    assert (run(made=other), run(made=other)) == (1, 0)


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
import torch; torch.set_num_threads(1)
import sparsemm.heads.scoring as scoring
from helpers import probes as t
real, count = scoring._score_batch, [0]
def batch(*args):
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
scoring._score_batch = batch
scoring.score_heads(t.model("gqa"), t.processor(), t.make_probe("gqa"), max_new_tokens=t.NEW, batch_size=2,
                    convention="all", workdir={workdir!r}, progress=False)
"""


def test_killed_in_the_middle_gives_the_same_bytes(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    paths = [str(folder) for folder in (tests, tests.parent, tests.parents[1] / "src")]
    script = KILLED.format(paths=paths, workdir=str(tmp_path / "work"))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert [p.name for p in sorted((tmp_path / "work").iterdir())] == [
        "batch-00000.parquet",
        "batch-00001.parquet",
    ]
    settings: dict[str, Any] = {
        "max_new_tokens": NEW,
        "batch_size": 2,
        "convention": "all",
        "progress": False,
    }
    for name, work in (("resumed", tmp_path / "work"), ("whole", None)):
        scores = score_heads(model("gqa"), processor(), make_probe("gqa"), workdir=work, **settings)
        scores.save(tmp_path / f"{name}.parquet", samples=tmp_path / f"{name}-samples.parquet")
    for suffix in (".parquet", "-samples.parquet"):
        assert (tmp_path / f"resumed{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
