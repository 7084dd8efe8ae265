"""The paper's values in figures, and figures of what was not run or has no score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsemm.reporting import figures, paper_values
from sparsemm.reporting.figures.masking import relative_scores
from sparsemm.reporting.summary import part, read_masks
from sparsemm.results.parquet import read_metadata, read_table, write_table

from helpers.fake_paper import ACCURACY, MISTRAL, PAPER, QWEN, VICUNA, make_paper_run
from helpers.fake_results import Run, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_paper_run(
        tmp_path_factory.mktemp("run"),
        models=(VICUNA, QWEN),
        benchmarks=("ocrbench", "textcaps", "gqa"),
        images=6,
        java=False,
        ablations=False,
    )


def drawn(monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], None]) -> Figure:
    kept: list[Figure] = []
    monkeypatch.setattr(f"sparsemm.reporting.figures.{module}.save", lambda figure, stem: kept.append(figure))
    make()
    return kept[0]


def open_markers(panel: Axes) -> list[Line2D]:
    """The paper's points: markers that are not filled, without a line."""
    return [
        line for line in panel.get_lines() if line.get_markerfacecolor() == "none" and len(line.get_xdata())
    ]


def texts(panel: Axes) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in panel.texts)


def test_curves_have_the_papers_values(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(
        monkeypatch,
        "accuracy",
        lambda: figures.figure4(run.predictions, "x", run_scores=run.run_scores, paper=ACCURACY),
    )
    assert [axes.get_title() for axes in figure.axes] == ["ocrbench", "textcaps"] * 2
    first, captions = figure.axes[:2]
    theirs = paper_values.accuracy(ACCURACY)
    theirs = theirs.set_index(["paper_model", "benchmark", "policy", "budget"]).sort_index()
    wanted = theirs.loc[(VICUNA, "ocrbench", "sparsemm"), "paper_score"].to_dict()
    assert len(open_markers(first)) == 5
    assert dict(zip(*open_markers(first)[0].get_data())) == wanted
    assert texts(captions) == "no score: CIDEr could not be computed"
    assert captions.get_lines() == []
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "paper"


def test_figure5_has_table_6s_benchmarks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, "accuracy", lambda: figures.figure5(run.predictions, "x", paper=ACCURACY))
    assert [axes.get_title() for axes in figure.axes] == ["gqa"]
    assert len(open_markers(figure.axes[0])) == 5


def test_figure6_has_the_papers_points_of_the_runs_methods(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    short = [path for path in run.efficiency if path.stem.endswith(("-2048", "-4096"))]
    figure = drawn(
        monkeypatch,
        "efficiency",
        lambda: figures.figure6(short, "x", paper=PAPER / "figure6_efficiency.csv"),
    )
    latency, memory, cache = figure.axes[:3]
    assert [len(open_markers(panel)) for panel in (latency, memory, cache)] == [2, 2, 0]
    assert dict(zip(*open_markers(memory)[0].get_data()))[32768] == 32.87
    assert memory.get_ylim()[1] > 32.87
    assert [label.get_text() for label in latency.get_xticklabels()] == ["2K", "4K", "8K", "16K", "32K"]


def test_other_models_have_no_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(tmp_path, benchmarks=("docvqa",), budgets=(64, 128), samples=10)
    for module, make in (
        ("accuracy", lambda: figures.figure4(made.predictions, "x", paper=ACCURACY)),
        (
            "efficiency",
            lambda: figures.figure6(made.efficiency, "x", paper=PAPER / "figure6_efficiency.csv"),
        ),
    ):
        figure = drawn(monkeypatch, module, make)
        assert all(open_markers(panel) == [] for panel in figure.axes)


def test_what_was_not_run_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr("sparsemm.reporting.figures.style.save", lambda figure, stem: kept.append(figure))
    alone = [path for path in run.predictions if path.parent.name == "gqa"]
    figures.figure4(alone, "x")
    figures.figure5([], "x")
    figures.figure7([], "x")
    figures.figure_audit([], "x")
    assert [figure.texts[0].get_text() for figure in kept] == [
        "not run: no benchmark of figure 4",
        "not run: no benchmark of figure 5",
        "not run: no benchmark with masked heads",
        "not run: no benchmark",
    ]


def test_uniform_scores_are_said_in_their_row(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = read_table(run.scores[0], "scores")
    path = tmp_path / run.scores[0].name
    even = 1 / len(frame)
    write_table(
        path,
        frame.assign(score=even, ci_low=even, ci_high=even),
        "scores",
        {"no_match": "uniform: no head hit"},
    )
    figure = drawn(
        monkeypatch, "heatmap", lambda: figures.figure2([path, run.scores[1]], "x", samples=run.samples)
    )
    said = [texts(panel) for panel in figure.axes]
    assert said.count("no head hit: every head has the same score") == 1


def test_masked_samples_of_an_image_are_drawn_together(tmp_path: Path) -> None:
    made = make_run(tmp_path, models=(MISTRAL,), benchmarks=("textvqa", "x"), budgets=(16, 64), samples=40)
    before = relative_scores(part(read_masks(made.masks, made.predictions), MISTRAL, "textvqa"), "here")
    alone = relative_scores(part(read_masks(made.masks), MISTRAL, "textvqa"), "here")
    assert alone["visual"].equals(before["visual"])
    for path in made.predictions:
        frame = read_table(path, "predictions")
        images = (frame["sample_id"].astype(int) // 8).astype(str)
        write_table(path, frame.assign(image_id=images), "predictions", read_metadata(path))
    after = relative_scores(part(read_masks(made.masks, made.predictions), MISTRAL, "textvqa"), "here")
    assert after["visual"]["ratio"].tolist() == before["visual"]["ratio"].tolist()
    assert after["visual"]["low"].tolist() != before["visual"]["low"].tolist()


def test_masks_without_scores_leave_their_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(
        tmp_path, models=(QWEN,), benchmarks=("ocrbench", "mmbench"), budgets=(16, 64), samples=10
    )
    none = dict.fromkeys(["score", "score_paper", "score_current"])
    frame = read_table(made.masks[1], "masks").assign(**none)
    write_table(made.masks[1], frame, "masks", {"metric": "circular accuracy"})
    figure = drawn(monkeypatch, "masking", lambda: figures.figure7(made.masks, "x"))
    assert texts(figure.axes[1]) == "no score: circular accuracy is of a whole run"
    assert figure.axes[1].get_lines() == []
