"""Reading a run's files: units of metrics of a whole run, images that samples share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsemm.errors import InputError
from sparsemm.reporting import tables
from sparsemm.reporting.summary import read_predictions, summarise
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.stats import bootstrap_interval

from helpers.fake_paper import QWEN, VICUNA, make_paper_run
from helpers.fake_results import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("run")
    return make_paper_run(root, models=(VICUNA, QWEN), benchmarks=("docvqa", "mmbench"), images=12)


def test_a_run_is_scored_by_its_units(run: Run) -> None:
    path = next(path for path in run.run_scores if path.stem == "mmbench")
    units = read_table(path, "run_scores")
    frame = read_predictions(run.predictions, run.run_scores)
    own = frame[(frame["benchmark"] == "mmbench") & (frame["policy"] == "adakv") & (frame["budget"] == 64)]
    assert (len(own), own["score"].count()) == (36, 12)
    chosen = units[(units["policy"] == "adakv") & (units["budget"] == 64)]
    cells = summarise(frame).set_index(["benchmark", "policy", "budget"])
    row = cells.loc[("mmbench", "adakv", 64)]
    assert row["samples"] == 12
    assert row["score"] == pytest.approx(chosen["score"].mean())
    assert row["prompt_tokens"] == pytest.approx(own["prompt_tokens"].mean())  # of every row, not of units


def test_a_unit_without_its_row_is_told(run: Run, tmp_path: Path) -> None:
    path = next(path for path in run.run_scores if path.stem == "mmbench")
    other = tmp_path / path.parent.name / path.name
    frame = read_table(path, "run_scores").replace({"unit": {"00000": "gone"}})
    write_table(other, frame, "run_scores", read_metadata(path))
    with pytest.raises(InputError, match="unit gone is in no predictions"):
        read_predictions(run.predictions, [other])


def test_a_run_without_a_single_row_or_unit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "predictions" / QWEN / "mmbench" / "0.parquet"
    write_table(path, read_table(run.predictions[0], "predictions").iloc[:0], "predictions", {})
    assert summarise(read_predictions(path)).empty
    tables.table6(path, tmp_path / "t")
    assert (tmp_path / "t.csv").read_text().count("\n") == 1
    whole = next(path for path in run.run_scores if path.stem == "mmbench")
    units = tmp_path / "run_scores" / QWEN / "mmbench.parquet"
    write_table(units, read_table(whole, "run_scores").iloc[:0], "run_scores", {})
    tables.table6(run.predictions, tmp_path / "u", run_scores=[units])
    assert "none of its rows makes a whole unit" in (tmp_path / "u.md").read_text(encoding="utf-8")


def test_intervals_are_over_images(run: Run) -> None:
    frame = read_predictions(run.predictions, run.run_scores)
    own = frame[(frame["model"] == VICUNA) & (frame["benchmark"] == "docvqa") & (frame["policy"] == "fullkv")]
    row = summarise(own).iloc[0]
    assert own["image_id"].nunique() < len(own)
    wanted = bootstrap_interval(own["score"], clusters=list(own["image_id"]))
    assert (row["ci_low"], row["ci_high"]) == wanted
    assert wanted != bootstrap_interval(own["score"])
