"""Tables from a made-up run: the numbers in the csv are those of the rows, and what is said is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparsemm.errors import InputError
from sparsemm.reporting import figures, tables
from sparsemm.reporting.summary import read_predictions, summarise
from sparsemm.reporting.tables.findings import BETTER, EVEN, WORSE, compare
from sparsemm.reporting.tables.writing import Cell, best_of, latex, markdown
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.stats import bootstrap_interval

from helpers.fake_results import Run, make_run

MODEL = "tiny-llava-next-vicuna"
PAPER = Path(__file__).parents[2] / "data" / "paper" / "accuracy.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), loser="synth-chart")


MAKERS: dict[str, Callable[[Run, Path], None]] = {
    "table1": lambda run, stem: tables.table1(run.predictions, stem),
    "table2": lambda run, stem: tables.table2(run.predictions, run.efficiency, stem),
    "table3": lambda run, stem: tables.table3(run.predictions, stem),
    "table4": lambda run, stem: tables.table4(run.predictions, stem),
    "table5": lambda run, stem: tables.table5(run.predictions, stem),
    "table6": lambda run, stem: tables.table6(run.predictions, stem),
    "repro": lambda run, stem: tables.repro(
        run.predictions, run.efficiency, list(PAPER.parent.iterdir()), stem
    ),
    "rules": lambda run, stem: tables.rules(run.predictions, stem),
    "table_matrix": lambda run, stem: tables.table_matrix(run.predictions, stem),
    "table_audit": lambda run, stem: tables.table_audit(run.predictions, stem),
    "table_profile": lambda run, stem: tables.table_profile(run.profile, stem),
    "findings": lambda run, stem: tables.findings(
        run.predictions, stem, masks=run.masks, efficiency=run.efficiency, scores=run.scores
    ),
    "claims": lambda run, stem: tables.claims(
        stem, predictions=run.predictions, scores=run.scores, samples=run.samples, masks=run.masks
    ),
    "comparison": lambda run, stem: tables.comparison(run.predictions, PAPER, stem),
}


def raw(run: Run, benchmark: str, policy: str, budget: int) -> pd.DataFrame:
    """The rows of a cell, straight from the files."""
    frames = [read_table(p, "predictions") for p in run.predictions if p.parent.name == benchmark]
    frame = pd.concat(frames)
    return frame[(frame["policy"] == policy) & (frame["budget"] == budget)].sort_values("sample_id")


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_table_is_made_three_ways_and_twice_the_same(name: str, run: Run, tmp_path: Path) -> None:
    assert set(MAKERS) == set(tables.TABLES) - {"table_emergence", "table_recipes"}  # see their own tests
    MAKERS[name](run, tmp_path / "a" / name)
    MAKERS[name](run, tmp_path / "b" / name)
    written = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert written == [f"{name}.csv", f"{name}.md", f"{name}.tex"]
    for file in written:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    md = (tmp_path / "a" / f"{name}.md").read_text().splitlines()
    assert md[0].count("|") == md[1].count("|")
    tex = (tmp_path / "a" / f"{name}.tex").read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    columns = md[0].count("|") - 2
    body = tex.split(r"\toprule")[1]
    assert all(line.count("&") == columns for line in body.splitlines() if line.endswith(r"\\"))


def test_table1_counts_every_sample_once(run: Run, tmp_path: Path) -> None:
    tables.table1(run.predictions, tmp_path / "t")
    row = pd.read_csv(tmp_path / "t.csv").set_index("benchmark").loc["synth-ocr"]
    tokens = raw(run, "synth-ocr", "fullkv", 0)["prompt_tokens"]
    assert row["samples"] == len(tokens) == 60
    assert row["mean_input_tokens"] == pytest.approx(tokens.mean())


def test_table2_has_scores_at_the_budget_and_the_median_latency(run: Run, tmp_path: Path) -> None:
    tables.table2(run.predictions, run.efficiency, tmp_path / "t", budget=16, tokens=8192)
    frame = pd.read_csv(tmp_path / "t.csv").set_index(["policy", "benchmark"])
    row = frame.loc[("adakv", "synth-docvqa")]
    assert row["score"] == pytest.approx(raw(run, "synth-docvqa", "adakv", 16)["score"].mean())
    path = next(p for p in run.efficiency if p.name == "adakv-8192.parquet")
    assert row["decode_ms_per_token"] == pytest.approx(read_table(path)["decode_ms_per_token"].median())
    assert frame.loc[("fullkv", "synth-docvqa"), "budget"] == 0
    with pytest.raises(InputError, match="budget 99"):
        tables.table2(run.predictions, run.efficiency, tmp_path / "u", budget=99)
    with pytest.raises(InputError, match="99 input tokens"):
        tables.table2(run.predictions, run.efficiency, tmp_path / "u", tokens=99)
    assert not (tmp_path / "u.csv").exists()


def test_a_full_cache_that_did_not_fit_leaves_a_gap(tmp_path: Path) -> None:
    run = make_run(tmp_path, benchmarks=("synth-docvqa",), budgets=(16, 64), samples=10)
    path = next(p for p in run.efficiency if p.name == "fullkv-32768.parquet")
    write_table(path, read_table(path, "efficiency").iloc[:0], "efficiency", {})
    tables.table2(run.predictions, run.efficiency, tmp_path / "t")
    times = pd.read_csv(tmp_path / "t.csv").groupby("policy")["decode_ms_per_token"].count()
    assert times["fullkv"] == 0
    assert times["sparsemm"] > 0
    figures.figure6(run.efficiency, tmp_path / "f")
    tables.findings(run.predictions, tmp_path / "n", efficiency=run.efficiency)
    said = (tmp_path / "n.md").read_text()
    assert "at 16384 input tokens SparseMM decodes" in said
    assert "at 32768 input tokens SparseMM decodes" not in said


def test_the_profile_has_every_cell_and_says_what_did_not_fit(run: Run, tmp_path: Path) -> None:
    tables.table_profile(run.profile, tmp_path / "t")
    numbers = pd.read_csv(tmp_path / "t.csv")
    assert len(numbers) == 2 * len(run.profile)
    assert list(numbers["batch"].unique()) == [1, 8]  # batch by batch, then length by length
    missing = numbers[numbers["status"] != "ok"]
    assert list(zip(missing["policy"], missing["input_tokens"], missing["batch"])) == [("fullkv", 32768, 8)]
    assert missing["decode_ms_per_token"].isna().all()
    shown = (tmp_path / "t.md").read_text()
    assert "| FullKV | 32768 | 8 | – | out of memory | – |" in shown
    row = numbers[
        (numbers.policy == "sparsemm") & (numbers.input_tokens == 2048) & (numbers.batch == 8)
    ].iloc[0]
    assert row.tokens_per_s == pytest.approx(8000 / row.decode_ms_per_token)


def test_table3_is_the_sweep_and_nothing_else(run: Run, tmp_path: Path) -> None:
    tables.table3(run.predictions, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert list(frame["rho"]) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0]
    # "sparsemm[rho=1.0]" of the other ablation, on another benchmark, stays out.
    assert set(frame["benchmark"]) == {"synth-ocr"}
    assert set(frame["budget"]) == {16}
    wanted = raw(run, "synth-ocr", "sparsemm[rho=0.3]", 16)["score"].mean()
    assert frame.set_index("rho").loc[0.3, "score"] == pytest.approx(wanted)
    tables.table3(run.predictions, tmp_path / "u", benchmark="synth-chart")
    assert pd.read_csv(tmp_path / "u.csv")["status"].tolist() == ["not run"]


def test_table4_adds_the_parts(run: Run, tmp_path: Path) -> None:
    tables.table4(run.predictions, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv").set_index(["parts", "budget"])
    assert len(frame) == 3 * 6
    for parts, label in {
        "local window": "local_window",
        "+ uniform": "sparsemm[rho=1.0]",
        "+ score": "sparsemm",
    }.items():
        wanted = raw(run, "synth-docvqa", label, 24)["score"].mean()
        assert frame.loc[(parts, 24), "score"] == pytest.approx(wanted)


def test_table5_means_and_intervals(run: Run, tmp_path: Path) -> None:
    tables.table5(run.predictions, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    assert len(frame) == 3 * (1 + 5 * 6)  # no variants of ablations
    cell = frame.set_index(["benchmark", "policy", "budget"]).loc[("synth-chart", "snapkv", 32)]
    scores = raw(run, "synth-chart", "snapkv", 32)["score"]
    assert cell["score"] == pytest.approx(scores.mean())
    assert (cell["ci_low"], cell["ci_high"]) == pytest.approx(bootstrap_interval(scores))
    assert cell["kept_tokens"] == 32


def test_audit_divides_effective_by_nominal(run: Run, tmp_path: Path) -> None:
    tables.table_audit(run.predictions, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv").set_index(["benchmark", "policy", "nominal_budget"])
    row = frame.loc[("synth-docvqa", "sparsemm", 64)]
    assert row["effective_over_nominal"] == pytest.approx(0.8)
    assert 0 < row["cache_over_full"] < 0.2


def test_findings_say_where_sparsemm_loses(run: Run, tmp_path: Path) -> None:
    MAKERS["findings"](run, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv")
    chart = frame[frame["benchmark"] == "synth-chart"].set_index("budget")
    docs = frame[frame["benchmark"] == "synth-docvqa"].set_index("budget")
    assert chart.loc[16, "verdict"] == WORSE
    assert chart.loc[16, "difference"] < 0
    assert docs.loc[12, "verdict"] == BETTER
    assert docs.loc[128, "verdict"] == EVEN
    text = (tmp_path / "t.md").read_text()
    lost = chart[chart["verdict"] == WORSE].index.max()
    assert f"the largest budget at which it loses is {lost} tokens" in text
    counts = frame["verdict"].value_counts()
    assert f"better than the best other method in {counts[BETTER]}, worse in {counts[WORSE]}" in text
    assert "visual heads matter more" in text
    assert "of 72 heads hold" in text
    assert "at 32768 input tokens" in text


def test_the_other_method_is_the_best_one(run: Run) -> None:
    frame = compare(read_predictions(run.predictions))
    cells = summarise(read_predictions(run.predictions), draws=2)
    for row in frame.itertuples():
        here = cells[(cells["benchmark"] == row.benchmark) & (cells["budget"] == row.budget)]
        others = here[here["policy"].isin(["snapkv", "pyramidkv", "adakv", "random_heads"])]
        assert row.other_score == pytest.approx(others["score"].max())
        assert row.difference == pytest.approx(row.sparsemm_score - row.other_score)


def test_comparison_keeps_both_numbers_apart(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        models=("llava-next-vicuna-7b", "qwen2-vl-7b"),
        benchmarks=("docvqa",),
        budgets=(64, 128),
        samples=20,
    )
    tables.comparison(run.predictions, PAPER, tmp_path / "t")
    frame = pd.read_csv(tmp_path / "t.csv").set_index(["model", "policy", "budget"])
    assert frame.loc[("llava-next-vicuna-7b", "sparsemm", 128), "paper_score"] == 0.6677
    assert frame.loc[("qwen2-vl-7b", "snapkv", 64), "paper_score"] == 0.6652
    assert ("qwen2-vl-7b", "random_heads", 64) in frame.index
    (tmp_path / "bad.csv").write_text("model,budget\n")
    with pytest.raises(InputError, match="column method is missing"):
        tables.comparison(run.predictions, tmp_path / "bad.csv", tmp_path / "u")


def test_several_models_with_benchmarks_of_their_own(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, models=("a", "b"), benchmarks=("x", "y"), only={"y": ("b",)}, budgets=(16, 64), samples=20
    )
    tables.table1(run.predictions, tmp_path / "t1")
    assert "| a |" in (tmp_path / "t1.md").read_text()
    assert "–" in (tmp_path / "t1.md").read_text()
    tables.table2(run.predictions, run.efficiency, tmp_path / "t2")
    tables.table5(run.predictions, tmp_path / "t5")
    found = pd.read_csv(tmp_path / "t5.csv")[["model", "benchmark"]].drop_duplicates()
    assert sorted(map(tuple, found.to_numpy())) == [("a", "x"), ("b", "x"), ("b", "y")]


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"table6"}))  # which has none of these benchmarks
def test_a_truncated_file_gives_one_line_and_no_table(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, benchmarks=("synth-docvqa",), budgets=(16, 64), samples=10)
    path = (run.profile if name == "table_profile" else run.predictions)[-1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as error:
        MAKERS[name](run, tmp_path / "out" / name)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_samples_missing_or_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path, benchmarks=("synth-chart",), budgets=(16, 64), samples=10)
    first, second = run.predictions
    frame, metadata = read_table(first), read_metadata(first)
    hole = frame[~((frame["policy"] == "adakv") & (frame["sample_id"] == "00003"))]
    write_table(first, hole, "predictions", metadata)
    with pytest.raises(InputError, match="no score of sample 00003"):
        tables.table5(run.predictions, tmp_path / "t")
    write_table(first, frame, "predictions", metadata)
    write_table(second, frame, "predictions", metadata)
    with pytest.raises(InputError, match="is in two shards"):
        tables.table5(run.predictions, tmp_path / "t")


def test_one_path_need_not_be_a_list(run: Run, tmp_path: Path) -> None:
    tables.table1(str(run.predictions[0]), tmp_path / "t")
    assert (tmp_path / "t.csv").is_file()


def test_writing_marks_the_best_and_escapes() -> None:
    assert best_of([0.9001, 0.9004, None, 0.8]) == [True, True, False, False]
    rows: list[Any] = [["a_b & 5 %", Cell("1.0", True)]]
    assert markdown(["x", "y"], rows, ["note"]).splitlines()[2] == "| a_b & 5 % | **1.0** |"
    assert r"a\_b \& 5 \% & \textbf{1.0} \\" in latex(["x", "y"], rows, ["50 %"])
    assert np.all([line.startswith("%") for line in latex(["x"], [], ["50 %"]).splitlines()[:1]])
