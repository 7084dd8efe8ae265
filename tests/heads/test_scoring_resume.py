"""Scoring that was killed or changed: finished batches are used again, by the same work alone, with the same bytes."""

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
from sparsemm.heads.patch_map import map_patches
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scoring import score_heads, score_samples

from helpers.probes import NEW, make_probe, settings_of
from helpers.tiny import model, processor

SETTINGS: dict[str, Any] = {
    "max_new_tokens": NEW,
    "batch_size": 2,
    "convention": "all",
    "progress": False,
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were scored, not read back."""
    sizes: list[int] = []
    real = scoring._score_batch
    monkeypatch.setattr(scoring, "_score_batch", lambda *a: sizes.append(len(a[2])) or real(*a))
    return sizes


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_resumes_and_repeats_its_bytes(variant: str, tmp_path: Path, ran: list[int]) -> None:
    probe = make_probe(variant)
    whole = score_heads(model(variant), processor(), probe, workdir=tmp_path / "a", **SETTINGS)
    without = score_heads(model(variant), processor(), probe, **SETTINGS)
    again = score_heads(model(variant), processor(), probe, workdir=tmp_path / "b", **SETTINGS)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    kept = files(tmp_path / "a")
    missing, torn, changed = (tmp_path / "a" / name for name in kept)
    missing.unlink()
    torn.write_bytes(kept[torn.name][:-20])
    changed.write_bytes(kept[changed.name].replace(b'"matched": 1', b'"matched": 2'))
    assert changed.read_bytes() != kept[changed.name]
    ran.clear()
    mended = score_heads(model(variant), processor(), probe, workdir=tmp_path / "a", **SETTINGS)
    assert ran == [2, 2, 1]
    assert files(tmp_path / "a") == kept
    ran.clear()
    read = score_heads(model(variant), processor(), probe, workdir=tmp_path / "a", **SETTINGS)
    assert ran == []
    for number, scores in enumerate((whole, without, again, mended, read)):
        scores.save(tmp_path / f"{number}.scores", samples=tmp_path / f"{number}.samples")
    for kind in ("scores", "samples"):
        assert len({(tmp_path / f"{number}.{kind}").read_bytes() for number in range(5)}) == 1


def test_other_settings_probe_processor_or_model_find_nothing_to_resume(
    tmp_path: Path, ran: list[int]
) -> None:
    probe = make_probe("mha")

    def run(made: Any = None, items: Any = None, patches: Any = None, by: Any = None, **changes: Any) -> int:
        ran.clear()
        settings = settings_of(**{"max_new_tokens": 4, "workdir": tmp_path} | changes)
        score_samples(made or model("mha"), by or processor(), items or probe, settings, patches=patches)
        return len(ran)

    assert (run(), run()) == (1, 0)
    assert (run(max_new_tokens=5), run(max_new_tokens=5)) == (1, 0)
    assert run(max_new_tokens=5, convention="all") == 1
    assert (run(max_new_tokens=5, matching="exact"), run(max_new_tokens=5)) == (1, 0)
    moved = [ProbeImage(p.id, p.image, p.words, [(0.0, 0.0, 9.0, 9.0)] * 3) for p in probe]
    assert (run(items=moved), run(items=moved)) == (1, 0)
    patches = map_patches(processor(), probe)
    assert (run(patches=patches), run(patches=patches)) == (1, 0)
    other = copy.deepcopy(model("mha"))
    with torch.no_grad():
        next(iter(other.parameters())).add_(0.5)
    assert (run(made=other), run(made=other)) == (1, 0)
    darker = copy.deepcopy(processor())
    darker.image_processor.image_mean = [0.9, 0.9, 0.9]
    assert (run(by=darker), run(by=darker)) == (1, 0)


def test_a_probe_set_that_grows_keeps_its_finished_batches(tmp_path: Path, ran: list[int]) -> None:
    probe = make_probe("mha")
    settings = settings_of(batch_size=2, workdir=tmp_path)
    score_samples(model("mha"), processor(), probe[:4], settings)
    ran.clear()
    grown = score_samples(model("mha"), processor(), probe, settings)
    assert ran == [1]
    assert len(grown.image_ids) == 5


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


def test_killed_in_the_middle_gives_the_same_bytes(tmp_path: Path, ran: list[int]) -> None:
    tests = Path(__file__).parent
    paths = [str(folder) for folder in (tests, tests.parent, tests.parents[1] / "src")]
    script = KILLED.format(paths=paths, workdir=str(tmp_path / "work"))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(files(tmp_path / "work")) == 2
    ran.clear()
    model("gqa").save_pretrained(
        tmp_path / "model"
    )  # which writes into the model's config, and changes no score
    for name, work in (("resumed", tmp_path / "work"), ("whole", None)):
        scores = score_heads(model("gqa"), processor(), make_probe("gqa"), workdir=work, **SETTINGS)
        scores.save(tmp_path / f"{name}.parquet", samples=tmp_path / f"{name}-samples.parquet")
    assert ran == [1, 2, 2, 1]  # the batch that was left, then the whole run
    for suffix in (".parquet", "-samples.parquet"):
        assert (tmp_path / f"resumed{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
