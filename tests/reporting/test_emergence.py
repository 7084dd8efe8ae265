"""Copying heads against visual heads: what is alike is found, what is not is not; table and figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsemm.errors import InputError
from sparsemm.reporting import figures, tables
from sparsemm.reporting.agreement import Ranking
from sparsemm.reporting.emergence import READINGS, comparisons, masked, read_states
from sparsemm.results.parquet import read_table

from helpers.fake_emergence import EmergenceRun, make_emergence
from helpers.fake_probes import HEADS, IMAGES, LAYERS, ProbeRun, write_scores

PAIR = (READINGS["base"], READINGS["image"])


def compared(run: EmergenceRun, draws: int = 200) -> pd.DataFrame:
    inputs = run.inputs()
    states = read_states(run.probe.scores, inputs["samples"], inputs["text_scores"], inputs["text_samples"])
    return comparisons(*states, draws=draws)


def of_pair(frame: pd.DataFrame, pair: tuple[str, str] = PAIR) -> pd.DataFrame:
    return frame[(frame["first"] == pair[0]) & (frame["second"] == pair[1])].set_index("measure")


def test_heads_that_are_alike_are_found_to_be(tmp_path: Path) -> None:
    rows = of_pair(compared(make_emergence(tmp_path)))
    assert list(rows.index) == ["rank correlation", "best 5 %", "best 10 %"]
    assert list(rows["heads"]) == [72, 4, 7]
    assert (rows["value"] > 0.5).all()
    assert (rows["chance_p"] < 0.01).all()
    assert (rows["layer_chance_p"] < 0.05).all()
    assert (rows["low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["high"] + 0.05).all()
    assert abs(rows.loc["rank correlation", "chance"]) < 0.05
    assert rows.loc["best 10 %", "chance"] == pytest.approx(7 / 72, abs=0.03)


def test_other_heads_are_not(tmp_path: Path) -> None:
    rows = of_pair(compared(make_emergence(tmp_path, alike=False)))
    assert (rows["chance_p"] > 0.05).all()
    assert (rows["value"] <= rows["chance_high"] + 1e-9).all()


def test_layers_alone_are_no_agreement_within_layers() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([1.0, 5.0, 25.0, 125.0], 30)
    first, second = (level * rng.uniform(0.5, 1.5, 120) for _ in range(2))
    rankings = [Ranking("m", "base", first / first.sum()), Ranking("m", "probe", second / second.sum())]
    rows = of_pair(comparisons(rankings, {"m": 4}, draws=200))
    assert rows.loc["rank correlation", "chance_p"] < 0.01
    assert rows.loc["rank correlation", "layer_chance_p"] > 0.02


def test_visual_heads_of_several_trainings_are_compared(tmp_path: Path) -> None:
    frame = compared(make_emergence(tmp_path, models=("smol", "smol-s1")), draws=50)
    between = frame[frame["first"] == f"{READINGS['image']}, smol"]
    assert set(between["model"]) == {"smol-s1"}
    assert set(between["second"]) == {READINGS["image"]}
    assert between["value"].iloc[0] > 0.5
    staged = compared(make_emergence(tmp_path / "b", text_stage=True), draws=50)
    assert len(of_pair(staged, (READINGS["text_stage"], READINGS["image"]))) == 3


def test_what_is_kept_is_a_share_of_what_is_read_without_a_mask(tmp_path: Path) -> None:
    run = make_emergence(tmp_path)
    frame = read_table(run.masks[0], "reading_masks")
    cells = masked(run.masks[:1]).set_index(["kind", "fraction"])
    none = frame[frame["kind"] == "none"]["right"].sum()
    for kind, seeds in (("visual", 1), ("random", 3)):
        own = frame[(frame["kind"] == kind) & (frame["fraction"] == 0.1)]["right"].sum() / seeds
        assert cells.loc[(kind, 0.1), "kept"] == pytest.approx(own / none)
    assert np.allclose(cells["full"], none / (12 * 60))


def test_table_and_figure(tmp_path: Path) -> None:
    run = make_emergence(tmp_path, models=("smol", "smol-s1"), text_stage=True)
    tables.table_emergence(run.probe.scores, tmp_path / "t", **run.inputs(), draws=20)
    numbers = pd.read_csv(tmp_path / "t.csv")
    assert set(numbers["of"]) == {"agreement", "masked visual heads", "masked copying heads"}
    assert len(numbers) == 2 * (5 * 3 + 3 * 2 * 3) + 3
    said = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "over 2 models: mean" in said
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        figures.figure_emergence(run.probe.scores, tmp_path / folder / "f", **run.inputs(), draws=20)
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a/f.{kind}").read_bytes() == (tmp_path / f"b/f.{kind}").read_bytes()


def test_a_model_that_reads_no_image_has_no_visual_heads(tmp_path: Path) -> None:
    run = make_emergence(tmp_path, models=("smol", "blind"))
    blind = ProbeRun()
    write_scores(tmp_path, blind, "blind", "", np.zeros((IMAGES, LAYERS * HEADS)))
    tables.table_emergence(run.probe.scores, tmp_path / "t", **run.inputs(), draws=20)
    figures.figure_emergence(run.probe.scores, tmp_path / "f", **run.inputs(), draws=20)
    own = pd.read_csv(tmp_path / "t.csv").query("model == 'blind'")
    assert not own["compared"].str.contains(READINGS["image"])[own["of"] == "agreement"].any()
    assert "masked visual heads" not in set(own["of"])
    assert "masked copying heads" in set(own["of"])
    assert "blind: on the probe images no token matched: it has no visual heads." in (
        tmp_path / "t.md"
    ).read_text(encoding="utf-8")


def test_nothing_asked_for_is_said_and_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    tables.table_emergence([], tmp_path / "t")
    figures.figure_emergence([], tmp_path / "f")
    assert pd.read_csv(tmp_path / "t.csv")["status"].tolist() == ["not run"]
    run = make_emergence(tmp_path)
    path = run.probe.set_scores[0]
    path.write_bytes(path.read_bytes()[:-50])
    for make in (tables.table_emergence, figures.figure_emergence):
        with pytest.raises(InputError, match="truncated"):
            make(run.probe.scores, tmp_path / "x", **run.inputs(), draws=20)
