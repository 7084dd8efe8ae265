"""`sparsemm heads --verify`: agreement with other scores, and the settings that may explain a difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemm import HeadScores

from helpers.cli_runs import objects, printed

VALUES = np.random.default_rng(0).random((4, 10)) ** 3
MADE = {
    "model": "m",
    "matching": "stripped",
    "convention": "released",
    "probe_images": 50,
    "dataset": "generated",
}


def saved(folder: Path, name: str, values: np.ndarray, **metadata: Any) -> Path:
    HeadScores(values=values, metadata=metadata).save(folder / name)
    return folder / name


def test_the_same_scores_agree_and_differ_in_no_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = (saved(tmp_path, name, VALUES, **MADE) for name in ("mine.parquet", "theirs.parquet"))
    found = objects(capsys, "heads", "--scores", mine, "--verify", theirs)["verified"]
    assert (found["spearman"], found["overlap"], found["differing"]) == (1.0, 1.0, [])
    text = printed(capsys, "heads", "--scores", mine, "--verify", theirs)
    assert "rank correlation 1.000, 2 of the best 2 heads (5%) are the same" in text


def test_other_scores_name_the_settings_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = VALUES.copy()
    changed.ravel()[np.argsort(-changed.ravel())[:1]] = 0
    mine = saved(tmp_path, "mine.parquet", VALUES, **MADE)
    theirs = saved(tmp_path, "theirs.parquet", changed, **(MADE | {"matching": "exact", "probe_images": 9}))
    found = objects(capsys, "heads", "--scores", mine, "--verify", theirs)["verified"]
    assert found["overlap"] == 0.5
    assert found["spearman"] < 1
    assert {
        each["setting"]: (each["option"], each["here"], each["there"]) for each in found["differing"]
    } == {
        "matching": ("--matching", "stripped", "exact"),
        "probe_images": ("--images", 50, 9),
    }
    text = printed(capsys, "heads", "--scores", mine, "--verify", theirs)
    assert "matching (--matching): 'stripped' here, 'exact' there" in text


def test_a_published_file_says_nothing_of_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = saved(tmp_path, "mine.parquet", VALUES, **MADE), saved(tmp_path, "theirs.json", VALUES)
    found = objects(capsys, "heads", "--scores", mine, "--verify", theirs)["verified"]
    assert (found["settings_known"], found["differing"], found["overlap"]) == (False, [], 1.0)
    assert "does not say how it was made" in printed(capsys, "heads", "--scores", mine, "--verify", theirs)


def test_scores_of_another_shape_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sparsemm.cli import main

    mine, theirs = saved(tmp_path, "mine.json", VALUES), saved(tmp_path, "theirs.json", VALUES[:2])
    assert main(["heads", "--scores", str(mine), "--verify", str(theirs)]) == 2
    assert "cannot be compared" in capsys.readouterr().err
