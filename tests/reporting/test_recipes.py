"""Recipes against losses: the one that predicts is found, and what each choice adds; table and figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsemm.errors import InputError
from sparsemm.methods import CONVENTIONS, MATCHINGS
from sparsemm.reporting import figures, tables
from sparsemm.reporting.recipes import PAPERS, effects, read_predictions_of_losses, recipe_rows
from sparsemm.results.parquet import write_table
from sparsemm.stats import spearman

LAYERS, HEADS, IMAGES, PAGES = 4, 6, 10, 6
# How much each choice blurs what a recipe sees of the truth.
BLUR = {"plain": 0.6, "mass": 0.5, "all": 0.0, "stripped": 0.0, "exact": 0.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Recipes whose only flaws are plain hits and mass, and the losses."""
    root, rng = tmp_path_factory.mktemp("recipes"), np.random.default_rng(3)
    count = LAYERS * HEADS
    truth = rng.pareto(1.5, count) + 0.05
    wrong = {name: rng.permutation(truth) for name in BLUR}
    rows = []
    for matching in MATCHINGS:
        for grid in CONVENTIONS:
            for measure in ("argmax", "mass"):
                for weight in ("tokens", "plain"):
                    seen = truth.copy()
                    for name in (matching, grid, measure, weight):
                        blur = BLUR.get(name, 0.0)
                        seen = (1 - blur) * seen + blur * wrong.get(name, seen)
                    for image in range(IMAGES):
                        for head, score in enumerate(rng.gamma(4.0, seen / 4.0)):
                            rows.append(
                                [f"{image:05d}", matching, grid, measure, weight, *divmod(head, HEADS), score]
                            )
    names = ["image_id", "matching", "grid", "measure", "weight", "layer", "head", "score"]
    recipes, losses = root / "scores" / "tiny.parquet", root / "losses" / "tiny.parquet"
    write_table(recipes, pd.DataFrame(rows, columns=names), "recipes", {"model": "tiny"})
    order = rng.permutation(count)
    lost = []
    for page in range(PAGES):
        base = rng.uniform(5, 9)
        lost.append([f"{page + IMAGES:05d}", 0, [], base, 50])
        for number, head in enumerate(order):
            lost.append(
                [
                    f"{page + IMAGES:05d}",
                    number + 1,
                    [int(head)],
                    base + truth[head] * rng.gamma(9, 1 / 9),
                    50,
                ]
            )
    columns = ["image_id", "group", "heads", "loss", "tokens"]
    write_table(losses, pd.DataFrame(lost, columns=columns), "head_losses", {"model": "tiny"})
    return recipes, losses


def test_correlations_are_those_of_plain_sums(files: tuple[Path, Path]) -> None:
    (found,) = read_predictions_of_losses(*files, draws=50)
    assert found.groups == LAYERS * HEADS
    scores, losses = (pd.read_parquet(path) for path in files)
    mean = losses.assign(each=losses["loss"] / losses["tokens"]).groupby("group")["each"].mean()
    members = losses.drop_duplicates("group").set_index("group")["heads"]
    order = [int(members[group][0]) for group in sorted(mean.index) if group]
    lost = np.array([mean[group] - mean[0] for group in sorted(mean.index) if group])
    for index, names in enumerate(found.recipes):
        own = scores
        for column, name in zip(("matching", "grid", "measure", "weight"), names):
            own = own[own[column] == name]
        sums = own.groupby(["layer", "head"])["score"].sum().to_numpy()
        assert found.values[index] == pytest.approx(spearman(sums[order], lost))


def test_what_blurs_a_score_costs_and_what_does_not_does_not(files: tuple[Path, Path]) -> None:
    found = read_predictions_of_losses(*files, draws=200)
    rows = recipe_rows(found)
    assert len(rows) == 24
    paper = rows[(rows[["matching", "grid", "measure", "weight"]] == list(PAPERS)).all(axis=1)].iloc[0]
    assert paper["value"] > 0.8
    assert paper["gain"] == paper["gain_low"] == paper["gain_high"] == 0.0
    worst = rows[(rows["measure"] == "mass") & (rows["weight"] == "plain")]
    assert (worst["gain"] < -0.1).all()
    said = effects(found).set_index("choice")
    for choice in ("1 / tokens, not plain hits", "peak, not attention mass"):
        assert said.loc[choice, "low"] > 0
    for choice in ("small image counted", "exact, not released matching", "stripped, not released matching"):
        assert said.loc[choice, "low"] < 0.05
        assert said.loc[choice, "high"] > -0.05


def test_table_and_figure(files: tuple[Path, Path], tmp_path: Path) -> None:
    recipes, losses = files
    tables.table_recipes(recipes, losses, tmp_path / "t")
    assert len(pd.read_csv(tmp_path / "t.csv")) == 24
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert text.count("| the paper's |") == 1
    assert "tiny, mean effect of a choice over the others: peak, not attention mass" in text
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        figures.figure_recipes(recipes, losses, tmp_path / folder / "f")
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a/f.{kind}").read_bytes() == (tmp_path / f"b/f.{kind}").read_bytes()


def test_nothing_asked_for_is_said_and_bad_files_are_one_line(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    tables.table_recipes([], [], tmp_path / "t")
    figures.figure_recipes([], [], tmp_path / "f")
    assert pd.read_csv(tmp_path / "t.csv")["status"].tolist() == ["not run"]
    frame = pd.read_parquet(files[1])
    path = tmp_path / "tiny.parquet"
    write_table(path, frame[frame["group"] > 0], "head_losses", {})
    with pytest.raises(InputError, match="no losses to compare"):
        figures.figure_recipes(files[0], path, tmp_path / "x")
    path.write_bytes(files[1].read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated"):
        tables.table_recipes(files[0], path, tmp_path / "x")
