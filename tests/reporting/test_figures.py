"""Figures from a made-up run: both files are made, twice the same, without torch; bad files give one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.methods import look, main_methods
from sparsemm.reporting import figures
from sparsemm.reporting.figures.masking import relative_scores
from sparsemm.reporting.summary import part, read_masks
from sparsemm.results.parquet import read_metadata, read_table, write_table

from helpers.fake_results import Run, make_run

MAKERS: dict[str, Callable[[Run, Path], None]] = {
    "figure2": lambda run, stem: figures.figure2(run.scores, stem, samples=run.samples),
    "figure4": lambda run, stem: figures.figure4(run.predictions, stem),
    "figure5": lambda run, stem: figures.figure5(run.predictions, stem),
    "figure6": lambda run, stem: figures.figure6(run.efficiency, stem),
    "figure7": lambda run, stem: figures.figure7(run.masks, stem),
    "figure10": lambda run, stem: figures.figure10(run.maps, stem),
    "figure_audit": lambda run, stem: figures.figure_audit(run.predictions, stem),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), samples=20, benchmarks=("synth-docvqa", "synth-ocr"))


def drawn(monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], None]) -> Figure:
    """The figure that `make` would save."""
    kept: list[Figure] = []
    monkeypatch.setattr(f"sparsemm.reporting.figures.{module}.save", lambda figure, stem: kept.append(figure))
    make()
    return kept[0]


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_figure_is_made_twice_the_same(name: str, run: Run, tmp_path: Path) -> None:
    elsewhere = {"figure_claims", "figure_patches", "figure8", "figure9", "figure11"}  # see their own tests
    elsewhere |= {"figure_matrix", "figure_pareto", "figure_emergence", "figure_recipes"}
    assert set(MAKERS) == set(figures.FIGURES) - elsewhere
    MAKERS[name](run, tmp_path / "a" / name)
    MAKERS[name](run, tmp_path / "b" / name)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [f"{name}.pdf", f"{name}.png"]
    for kind in ("pdf", "png"):
        assert (tmp_path / "a" / f"{name}.{kind}").read_bytes() == (
            tmp_path / "b" / f"{name}.{kind}"
        ).read_bytes()
    pdf = (tmp_path / "a" / f"{name}.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf
    with Image.open(tmp_path / "a" / f"{name}.png") as image:
        assert image.width > 800
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"figure5"}))  # which has none of these benchmarks
def test_a_truncated_file_gives_one_line_and_no_figure(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, samples=10, benchmarks=("synth-docvqa",), budgets=(16, 64))
    for paths in (run.scores, run.predictions, run.efficiency, run.masks, run.maps):
        paths[-1].write_bytes(paths[-1].read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated") as error:
        MAKERS[name](run, tmp_path / "out" / name)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_no_files_at_all(name: str, tmp_path: Path) -> None:
    """Predictions and masks may be of no benchmark at all; what a stage always makes must be there."""
    if name in ("figure2", "figure6", "figure10"):
        with pytest.raises(InputError, match="given"):
            MAKERS[name](Run(), tmp_path / name)
    else:
        MAKERS[name](Run(), tmp_path / name)
        assert (tmp_path / f"{name}.png").is_file()
        assert (tmp_path / f"{name}.pdf").is_file()


def test_tables_and_figures_without_torch(run: Run, tmp_path: Path) -> None:
    """In a process where importing torch or transformers fails, also under another hash seed."""
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "snakemake"):
            raise ImportError(name + " is not to be imported")
sys.meta_path.insert(0, Refuse())
from sparsemm.reporting import figures, tables
figures.figure4({[str(p) for p in run.predictions]}, {str(tmp_path / "figure4")!r})
tables.table5({[str(p) for p in run.predictions]}, {str(tmp_path / "table5")!r})
"""
    source = str(Path(figures.__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    MAKERS["figure4"](run, tmp_path / "here")
    assert (tmp_path / "figure4.pdf").read_bytes() == (tmp_path / "here.pdf").read_bytes()
    assert (tmp_path / "figure4.png").read_bytes() == (tmp_path / "here.png").read_bytes()
    assert (tmp_path / "table5.csv").is_file()


def test_figure4_draws_the_means_and_no_ablations(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, "accuracy", lambda: figures.figure4(run.predictions, "x"))
    panel = next(axes for axes in figure.axes if axes.get_title() == "synth-ocr")
    lines = {line.get_label(): line for line in panel.get_lines()}
    rows = [read_table(p) for p in run.predictions if p.parent.name == "synth-ocr"]
    ran = {policy for frame in rows for policy in frame["policy"]}
    assert {"fullkv", "sparsemm", "snapkv", "pyramidkv", "adakv", "random_heads"} <= ran
    assert set(lines) == {look(name).label for name in main_methods() if name in ran}
    scores = [frame[(frame["policy"] == "adakv") & (frame["budget"] == 24)]["score"] for frame in rows]
    mean = sum(s.sum() for s in scores) / sum(map(len, scores))
    x, y = lines["AdaKV"].get_data()
    assert list(x) == [12, 16, 24, 32, 64, 128]
    assert y[2] == pytest.approx(mean)


def test_several_models_get_rows_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(
        tmp_path, models=("a", "b"), benchmarks=("x", "y"), only={"y": ("b",)}, budgets=(16, 64), samples=10
    )
    figure = drawn(monkeypatch, "accuracy", lambda: figures.figure4(run.predictions, "x"))
    assert [axes.get_title() for axes in figure.axes] == ["x", "", "x", "y"]
    assert [axes.get_title(loc="left").strip() for axes in figure.axes] == ["a", "", "b", ""]
    for name in ("figure2", "figure6", "figure7", "figure10", "figure_audit"):
        MAKERS[name](run, tmp_path / name)
        assert (tmp_path / f"{name}.pdf").is_file()


def test_masking_is_relative_to_no_mask(run: Run) -> None:
    rows = part(read_masks(run.masks), "tiny-llava-next-vicuna", "synth-docvqa")
    curves = relative_scores(rows, "here")
    assert set(curves) == {"visual", "random"}
    full = rows[rows["kind"] == "none"]["score"].mean()
    wanted = rows[(rows["kind"] == "random") & (rows["fraction"] == 0.1)]["score"].mean() / full
    row = curves["random"].set_index("fraction").loc[0.1]
    assert row["ratio"] == pytest.approx(wanted)
    assert row["low"] <= row["ratio"] <= row["high"]


def test_masks_of_a_model_that_never_answers(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "masks" / "m" / "synth-ocr.parquet"
    frame = read_table(run.masks[1]).assign(score=0.0)
    write_table(path, frame, "masks", {})
    figures.figure7([path], tmp_path / "f")
    assert (tmp_path / "f.png").is_file()
    write_table(path, frame[frame["kind"] != "none"], "masks", {})
    with pytest.raises(InputError, match="without mask"):
        figures.figure7([path], tmp_path / "g")


def test_scores_and_samples_that_do_not_belong_together(run: Run, tmp_path: Path) -> None:
    path = tmp_path / run.samples[0].name
    frame = read_table(run.samples[0])
    write_table(path, frame[frame["head"] > 0], "score_samples", read_metadata(run.samples[0]))
    with pytest.raises(InputError, match="score the heads again"):
        figures.figure2(run.scores, tmp_path / "f", samples=[path])
    figures.figure2(run.scores[0], tmp_path / "without")
    assert (tmp_path / "without.pdf").is_file()


def test_maps_with_an_unreadable_image(run: Run, tmp_path: Path) -> None:
    frame = read_table(run.maps[0])
    write_table(tmp_path / "m.parquet", frame.assign(image=[b"no image"] * len(frame)), "attention_maps", {})
    with pytest.raises(InputError, match="unreadable image"):
        figures.figure10([tmp_path / "m.parquet"], tmp_path / "f")


def test_the_callers_settings_stay(run: Run, tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 31}):
        MAKERS["figure2"](run, tmp_path / "f")
        assert matplotlib.rcParams["font.size"] == 31
