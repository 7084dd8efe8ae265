"""Our numbers beside the paper's: what agrees, what differs, what was not run, and what the notes say of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sparsemm.errors import InputError
from sparsemm.reporting import paper_values, tables
from sparsemm.reporting.summary import read_predictions, summarise
from sparsemm.reporting.tables.beside import AGREES, DIFFERS, NO_SCORE, OURS_ALONE, beside, cell
from sparsemm.reporting.tables.writing import MISSING, NOT_RUN
from sparsemm.results.parquet import read_metadata, read_table, write_table

from helpers.fake_paper import ACCURACY, FIVE, MISTRAL, PAPER, QWEN, THREE, VICUNA, make_paper_run
from helpers.fake_results import Run, make_run

Maker = Callable[[Run, Path], None]
MAKERS: dict[str, Maker] = {
    "table1": lambda run, stem: tables.table1(run.predictions, stem, paper=PAPER / "table1_input_tokens.csv"),
    "table2": lambda run, stem: tables.table2(
        run.predictions,
        run.efficiency,
        stem,
        run_scores=run.run_scores,
        paper=PAPER / "table2_accuracy_speed.csv",
    ),
    "table3": lambda run, stem: tables.table3(
        run.predictions, stem, paper=PAPER / "table3_rho_ablation_ocrbench_budget256.csv"
    ),
    "table4": lambda run, stem: tables.table4(
        run.predictions,
        stem,
        run_scores=run.run_scores,
        paper=PAPER / "table4_component_ablation_mmbench_qwen2vl.csv",
    ),
    "table5": lambda run, stem: tables.table5(
        run.predictions, stem, run_scores=run.run_scores, scores=run.scores, paper=ACCURACY
    ),
    "table6": lambda run, stem: tables.table6(
        run.predictions, stem, run_scores=run.run_scores, scores=run.scores, paper=ACCURACY
    ),
    "repro": lambda run, stem: tables.repro(
        run.predictions, run.efficiency, list(PAPER.iterdir()), stem, run_scores=run.run_scores
    ),
    "comparison": lambda run, stem: tables.comparison(
        run.predictions, ACCURACY, stem, run_scores=run.run_scores
    ),
    "findings": lambda run, stem: tables.findings(run.predictions, stem, run_scores=run.run_scores),
    "table_audit": lambda run, stem: tables.table_audit(run.predictions, stem),
    "rules": lambda run, stem: tables.rules(run.predictions, stem, run_scores=run.run_scores),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_paper_run(tmp_path_factory.mktemp("whole"), images=12)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two benchmarks of one model, few rows, without Java."""
    return make_paper_run(
        tmp_path_factory.mktemp("trial"),
        models=(VICUNA,),
        benchmarks=("docvqa", "textcaps"),
        images=2,
        java=False,
        ablations=False,
        limit=6,
        unreadable=["00007"],
        limits_note="image limits differ from the paper's: max_pixels 602,112 in place of 12,845,056",
    )


def test_beside_says_of_every_cell_what_it_is() -> None:
    ours = pd.DataFrame(
        {
            "model": [VICUNA, VICUNA, QWEN, QWEN],
            "budget": [64, 128, 64, 7],
            "score": [0.5, 0.5, None, 0.5],
            "ci_low": [0.4, 0.4, None, 0.4],
            "ci_high": [0.6, 0.6, None, 0.6],
        }
    )
    theirs = pd.DataFrame(
        {
            "paper_model": [VICUNA, VICUNA, paper_values.QWEN, paper_values.QWEN, MISTRAL],
            "budget": [64, 128, 64, 128, 64],
            "paper_score": [0.6, 0.61, 0.5, 0.5, 0.5],
        }
    )
    found = beside(ours, theirs, ["budget"])
    assert list(found["status"]) == [AGREES, DIFFERS, NO_SCORE, OURS_ALONE, NOT_RUN, NOT_RUN]
    assert list(found["model"]) == [VICUNA, VICUNA, QWEN, QWEN, QWEN, MISTRAL]
    assert list(found["difference"].round(2)[:2]) == [-0.1, -0.11]
    rows = found.to_dict("records")
    assert cell(rows[0]).text == "0.500 [0.400, 0.600] (0.600, -0.100)"
    assert cell(rows[1]).text == "0.500 [0.400, 0.600] (0.610, -0.110†)"
    assert [cell(row).text for row in rows[2:]] == [MISSING, "0.500 [0.400, 0.600]", NOT_RUN, NOT_RUN]


@pytest.mark.parametrize("number", [5, 6])
def test_tables_5_and_6_have_every_cell_of_the_paper(number: int, run: Run, tmp_path: Path) -> None:
    MAKERS[f"table{number}"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    theirs = paper_values.accuracy(ACCURACY)
    theirs = theirs[theirs["table"] == number]
    compared = frame.dropna(subset="paper_score")
    assert len(compared) == len(theirs) == {5: 450, 6: 90}[number]
    assert set(frame["benchmark"]) == set(FIVE if number == 5 else THREE)
    assert set(frame[frame["policy"] == "fullkv"]["status"]) == {OURS_ALONE}
    inside = (compared["ci_low"] <= compared["paper_score"]) & (
        compared["paper_score"] <= compared["ci_high"]
    )
    assert list(compared["status"] == AGREES) == list(inside)
    wanted = compared["score"] - compared["paper_score"]
    assert compared["difference"].to_numpy() == pytest.approx(wanted, abs=1e-7)
    shown = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert shown.count("†)") == (compared["status"] == DIFFERS).sum()
    assert "A part of the paper's table" not in shown
    assert "Rule set: paper." in shown
    assert "qwen2-vl-7b: image limits size (shortest_edge 336)." in shown


def test_table1_has_the_familys_tokens_for_both_models(run: Run, tmp_path: Path) -> None:
    MAKERS["table1"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv").set_index(["model", "benchmark"])
    row = frame.loc[(MISTRAL, "chartqa")]
    assert row["paper_mean_input_tokens"] == frame.loc[(VICUNA, "chartqa"), "paper_mean_input_tokens"] == 2270
    assert row["ci_low"] < row["mean_input_tokens"] < row["ci_high"]
    assert frame.loc[(QWEN, "mmbench"), "status"] == OURS_ALONE


def test_table2_is_at_the_papers_budget_and_length(run: Run, tmp_path: Path) -> None:
    MAKERS["table2"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert set(frame["budget"]) == {0, 256}
    assert set(frame["latency_input_tokens"]) == {16384}
    row = frame.set_index(["model", "policy", "benchmark"]).loc[(VICUNA, "fullkv", "ocrbench")]
    assert (row["paper_score"], row["paper_decode_ms_per_token"]) == (0.52, 52.9)
    assert set(frame[frame["model"] != VICUNA]["status"]) == {OURS_ALONE}


def test_table2_without_the_papers_length_compares_no_latency(run: Run, tmp_path: Path) -> None:
    short = [path for path in run.efficiency if path.stem.rpartition("-")[2] in ("2048", "4096")]
    tables.table2(run.predictions, short, tmp_path / "t", paper=PAPER / "table2_accuracy_speed.csv")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert set(frame["latency_input_tokens"]) == {4096}
    assert "at 16384 input tokens, which were not run" in (tmp_path / "t.md").read_text()
    assert set(frame["decode_status"].dropna()) == {NOT_RUN}


def test_ablations_have_the_papers_cells(run: Run, tmp_path: Path) -> None:
    MAKERS["table3"](run, tmp_path / "t3")
    rho = pd.read_csv(tmp_path / "t3.csv").set_index(["model", "rho"])
    assert len(rho) == 24
    assert rho.loc[(MISTRAL, 0.0), ["paper_score", "status"]].tolist() == [0.145, DIFFERS]
    MAKERS["table4"](run, tmp_path / "t4")
    parts = pd.read_csv(tmp_path / "t4.csv").set_index(["policy", "budget"])
    assert len(parts) == 18
    assert parts.loc[("sparsemm[rho=1.0]", 256), "paper_score"] == 0.814


def test_repro_counts_what_the_tables_mark(run: Run, tmp_path: Path) -> None:
    MAKERS["repro"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv").set_index("table")
    assert frame["cells"].dropna().to_dict() == {
        "table 1": 15,
        "table 2, latency": 5,
        "table 2, scores": 25,
        "table 3": 24,
        "table 4": 18,
        "table 5": 450,
        "table 6": 90,
        "figure 6": 60,
    }
    for name in ("table1", "table3", "table4", "table5", "table6"):
        MAKERS[name](run, tmp_path / name)
        marked = pd.read_csv(tmp_path / f"{name}.csv")["status"].value_counts()
        row = frame.loc[f"table {name[-1]}"]
        assert (row["agree"], row["differ"]) == (marked.get(AGREES, 0), marked.get(DIFFERS, 0))
        assert row[["no_score", "not_run"]].tolist() == [0, 0]
    assert frame.loc[["figure 8", "figure 9"], "status"].tolist() == [NOT_RUN] * 2


def test_a_trial_says_what_part_of_the_paper_it_is(trial: Run, tmp_path: Path) -> None:
    MAKERS["table5"](trial, tmp_path / "t")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    for said in (
        "A trial run of the first 6 rows of each benchmark.",
        "1 of 3 models, 2 of 5 benchmarks, first 6 rows, 60 of 450 cells. Not run: llava-next-mistral-7b",
        "max_pixels 602,112 in place of 12,845,056.",
        "docvqa: 1 row is left out because the image cannot be decoded.",
        "textcaps: no score: its metric needs Java",
        "| llava-next-vicuna-7b | textcaps (CIDEr) | SparseMM | – | – | – | – | – | – |",
        "| llava-next-mistral-7b | docvqa | all | not run |",
    ):
        assert said in text, said
    frame = pd.read_csv(tmp_path / "t.csv")
    missing = frame[frame["status"] == NOT_RUN]
    assert len(missing) == 390
    assert missing[["score", "ci_low", "ci_high", "difference", "samples"]].isna().all(axis=None)
    assert set(frame[frame["benchmark"] == "textcaps"]["status"]) == {NO_SCORE, OURS_ALONE, NOT_RUN}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_table_of_a_trial_names_it(name: str, trial: Run, tmp_path: Path) -> None:
    MAKERS[name](trial, tmp_path / "t")
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert ("A trial run" in text) != (name in ("table3", "table4", "table6"))
    assert "nan" not in text.lower()


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"repro", "rules"}))
def test_nothing_run_gives_no_number(name: str, run: Run, tmp_path: Path) -> None:
    MAKERS[name](Run(efficiency=run.efficiency), tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert frame["status"].tolist() == [NOT_RUN]
    assert frame.drop(columns="status").isna().all(axis=None)
    lines = (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("| not run |")
    assert not any(letter.isdigit() for letter in lines[2])


def test_repro_of_a_run_without_the_papers_models(tmp_path: Path) -> None:
    made = make_run(tmp_path, benchmarks=("synth-docvqa",), budgets=(16, 64), samples=10)
    MAKERS["repro"](made, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert set(frame["status"]) == {NOT_RUN}
    assert frame[["agree", "differ", "no_score"]].isna().all(axis=None)
    assert "No model of this run is in the paper" in (tmp_path / "t.md").read_text()


def test_rules_have_both_scores_of_every_cell(run: Run, trial: Run, tmp_path: Path) -> None:
    MAKERS["rules"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert len(frame) == len(summarise(read_predictions(run.predictions, run.run_scores), draws=2))
    assert frame["score_current"].to_numpy() == pytest.approx(0.9 * frame["score_paper"])
    assert frame["difference"].to_numpy() == pytest.approx(-0.1 * frame["score_paper"], abs=1e-7)
    ours = frame[frame["benchmark"] == "chartqa"]
    assert ours["samples_changed"].to_numpy() == pytest.approx(ours["score_paper"] * ours["samples"])
    MAKERS["rules"](trial, tmp_path / "u")
    none = pd.read_csv(tmp_path / "u.csv").set_index("benchmark").loc["textcaps"]
    assert none[["score_paper", "score_current"]].isna().all(axis=None)


def test_uniform_scores_and_unread_answers_are_told(run: Run, tmp_path: Path) -> None:
    scores = tmp_path / "scores" / f"{QWEN}.parquet"
    frame = read_table(run.scores[0], "scores")
    even = frame.assign(score=1 / len(frame))
    write_table(scores, even, "scores", {"no_match": "uniform: no token matched"})
    unread = tmp_path / QWEN / "mmbench.parquet"
    path = next(path for path in run.run_scores if path.stem == "mmbench")
    write_table(unread, read_table(path, "run_scores").assign(unread=1), "run_scores", read_metadata(path))
    tables.table6(run.predictions, tmp_path / "t", run_scores=[unread], scores=[scores], paper=ACCURACY)
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "qwen2-vl-7b: on the probe images no token matched, so its visual scores are the same" in text
    assert f"mmbench: {len(read_table(path))} answers over all cells could not be read" in text
    write_table(scores, frame, "scores", {"no_match": "uniform"})
    tables.table6(run.predictions, tmp_path / "t", scores=[scores], run_scores=run.run_scores)
    assert "the same for every head" not in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_a_paper_file_that_is_broken_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("model,rho\n")
    with pytest.raises(InputError, match="column score is missing"):
        tables.table3(run.predictions, tmp_path / "t", paper=tmp_path / "bad.csv")
