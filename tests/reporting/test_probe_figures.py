"""Figures 8, 9 and 11: heads found on several probe sets; what was not run, or not read, is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from sparsemm.reporting import figures
from sparsemm.reporting.probe_answers import probe_cells
from sparsemm.results.parquet import read_table

from helpers.fake_probes import ProbeRun, make_probe_run
from helpers.fake_results import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ProbeRun:
    return make_probe_run(tmp_path_factory.mktemp("run"), models=("a", "b"), unread="blank")


def drawn(monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], None]) -> Figure:
    """The figure that `make` would save."""
    kept: list[Figure] = []
    monkeypatch.setattr(f"sparsemm.reporting.figures.{module}.save", lambda figure, stem: kept.append(figure))
    make()
    return kept[0]


def texts(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return "\n".join(found + [text.get_text() for text in figure.texts])


def test_both_files_are_made_twice_the_same(run: ProbeRun, tmp_path: Path) -> None:
    sets = {"set_scores": run.set_scores, "samples": run.samples, "set_samples": run.set_samples}
    for folder in ("one", "two"):
        figures.figure8(run.scores, tmp_path / folder / "figure8", **sets)
        figures.figure9(run.predictions, tmp_path / folder / "figure9", set_scores=run.set_scores)
    for name in ("figure8.pdf", "figure8.png", "figure9.pdf", "figure9.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_heat_maps_say_how_much_the_sets_agree(run: ProbeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make = lambda: figures.figure8(run.scores, "x", set_scores=run.set_scores)  # noqa: E731
    figure = drawn(monkeypatch, "probes", make)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title.split("\n")[0] for title in titles] == ["probe set", "same", "other", "blank"] * 2
    assert all("rank corr. 0." in title and "of 7" in title for title in titles if title.startswith("same"))
    assert titles[0] == "probe set\n"
    assert texts(figure).count("no token matched") == 2


def test_lines_are_the_means_of_their_cells(run: ProbeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    make = lambda: figures.figure9(run.predictions, "x", set_scores=run.set_scores)  # noqa: E731
    figure = drawn(monkeypatch, "probes", make)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    heads = {f"heads of {name}" for name in ("probe set", "same", "other", "blank")}
    assert set(lines) == heads | {"FullKV", "Random"}
    frame = read_table(run.predictions[0], "predictions")
    wanted = frame[(frame["policy"] == "sparsemm[probe=other]") & (frame["budget"] == 32)]["score"].mean()
    x, y = lines["heads of other"].get_data()
    assert list(x) == [16, 32]
    assert y[1] == pytest.approx(wanted)
    assert texts(figure).count("all heads alike: blank") == 2


def test_cells_of_the_comparison_alone(run: ProbeRun, tmp_path: Path) -> None:
    cells = probe_cells(run.predictions)
    assert set(cells["policy"]) == {
        "fullkv",
        "random_heads",
        "sparsemm",
        *(f"sparsemm[probe={name}]" for name in ("same", "other", "blank")),
    }
    assert set(cells[cells["policy"] == "sparsemm"]["probe"]) == {"probe"}
    plain = make_run(tmp_path, samples=5, benchmarks=("synth-ocr",))
    assert probe_cells(plain.predictions).empty


def test_nothing_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_run(tmp_path / "run", samples=5, benchmarks=("synth-ocr",))
    figures.figure8(plain.scores, tmp_path / "figure8")
    figures.figure9(plain.predictions, tmp_path / "figure9")
    figures.figure9([], tmp_path / "figure9")
    figures.figure11([], tmp_path / "figure11")
    assert len(list(tmp_path.glob("*.p*"))) == 6


def test_attention_over_other_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_run(tmp_path / "run", models=("a", "b"), samples=5, benchmarks=("synth-ocr",))
    paths = []
    for path in plain.maps:
        paths.append(tmp_path / "maps" / "wild" / path.name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(path.read_bytes())
    figure = drawn(monkeypatch, "maps", lambda: figures.figure11(paths, "x"))
    titles = {axes.get_title() for part in figure.subfigs for axes in part.axes}
    assert {"wild\na", "wild\nb"} <= titles
    figure = drawn(monkeypatch, "maps", lambda: figures.figure11(paths[:1], "x"))
    assert "wild" in {axes.get_title() for part in figure.subfigs for axes in part.axes}
