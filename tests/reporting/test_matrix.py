"""The matrix of allocators and rankers: what a pair is, its numbers against plain ones, table and figures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsemm.labels import split_question
from sparsemm.methods import METHODS, RANKERS
from sparsemm.reporting import figures, tables
from sparsemm.reporting.matrix import COLUMNS, matrix_cells, parts_of
from sparsemm.reporting.summary import read_predictions
from sparsemm.results.parquet import read_metadata, read_table, write_table

from helpers.fake_results import Run, make_run

PAIRS = (
    "sparsemm[question=agnostic]",
    "snapkv[question=agnostic]",
    "snapkv@key_norm",
    "sparsemm@key_norm",
    "sparsemm@streaming",
    "duo_heads",
    "sparsemm[rho=0.3]",
)


def make_pairs(root: Path) -> Run:
    """A made-up run of which every score halves with a ranker other than the default one."""
    run = make_run(root, benchmarks=("synth-docvqa", "synth-ocr"), budgets=(16, 64), samples=30)
    for path in run.predictions:
        frame, facts = read_table(path), read_metadata(path)
        added = []
        for label in PAIRS:
            method = split_question(label)[0].partition("@")[0]
            rows = frame[frame["policy"] == (method if method in set(frame["policy"]) else "snapkv")]
            halved = {name: rows[name] / 2 for name in ("score", "score_paper", "score_current")}
            added.append(rows.assign(policy=label, **(halved if "@" in label or "snapkv" in label else {})))
        whole = pd.concat([frame, *added]).sort_values(["sample_id", "policy", "budget"], ignore_index=True)
        whole = whole.drop_duplicates(["sample_id", "policy", "budget"], ignore_index=True)
        write_table(path, whole, "predictions", facts)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_pairs(tmp_path_factory.mktemp("pairs"))


def test_a_label_is_a_pair_unless_it_has_settings_or_is_no_method_of_the_main_tables() -> None:
    assert parts_of("sparsemm") == ("sparsemm", "window_attention", "aware")
    assert parts_of("duo_heads") == ("duo_heads", "streaming", "aware")
    assert parts_of("adakv@key_norm") == ("adakv", "key_norm", "aware")
    assert parts_of("adakv[question=agnostic]@key_norm") == ("adakv", "key_norm", "agnostic")
    for label in ("fullkv", "local_window", "sparsemm[rho=0.3]", "adakv@streaming[sinks=8]", "another"):
        assert parts_of(label) is None


def test_default_rankers_are_those_of_the_policies() -> None:
    from sparsemm.policies import make_policy
    from sparsemm.policies.base import ranker_of

    scores = np.full((2, 4), 1 / 8)
    for name, method in METHODS.items():
        policy = make_policy(name, budget=40, scores=scores)
        assert name == "fullkv" or method.ablation or ranker_of(policy).name == method.ranker


def test_numbers_are_plain_means_and_differences_of_the_same_samples(run: Run) -> None:
    rows = read_predictions(run.predictions)
    cells = matrix_cells(rows)
    assert list(cells.columns) == COLUMNS
    assert not cells.duplicated(["model", "benchmark", "question", "budget", "allocator", "ranker"]).any()
    known = cells.set_index(["benchmark", "question", "budget", "allocator", "ranker"])
    for benchmark in ("synth-docvqa", "synth-ocr"):
        own = rows[(rows["benchmark"] == benchmark) & (rows["budget"] == 16)]
        means = own.groupby("policy")["score"].mean()
        found = known.loc[(benchmark, "aware", 16, "snapkv", "key_norm")]
        assert found["score"] == pytest.approx(means["snapkv@key_norm"])
        assert found["difference"] == pytest.approx(means["snapkv@key_norm"] - means["sparsemm"])
        unknown = known.loc[(benchmark, "agnostic", 16, "snapkv", "window_attention")]
        assert unknown["difference"] == pytest.approx(
            means["snapkv[question=agnostic]"] - means["sparsemm[question=agnostic]"]
        )
        assert found["difference_low"] < found["difference"] < found["difference_high"]
        assert np.isnan(known.loc[(benchmark, "aware", 16, "sparsemm", "window_attention"), "difference"])
        assert known.loc[(benchmark, "aware", 0, "", ""), "score"] == pytest.approx(
            rows[(rows["benchmark"] == benchmark) & (rows["policy"] == "fullkv")]["score"].mean()
        )
    order = [*METHODS]
    chosen = (cells["budget"] == 16) & (cells["question"] == "aware")
    places = [order.index(name) for name in cells[chosen]["allocator"]]
    assert [a for a, b in pairwise(places) if b < a] == [max(places)]  # twice in order: two benchmarks


def test_table_has_a_row_an_allocator_and_a_column_a_ranker(run: Run, tmp_path: Path) -> None:
    tables.table_matrix(run.predictions, tmp_path / "table_matrix")
    text = (tmp_path / "table_matrix.md").read_text(encoding="utf-8")
    head = text.splitlines()[0]
    named = ("window_attention", "key_norm", "streaming")
    places = [head.index(RANKERS[name].label) for name in named]
    assert places == sorted(places)
    assert RANKERS["key_diff"].label not in head
    numbers = pd.read_csv(tmp_path / "table_matrix.csv")
    assert {"sparsemm", "snapkv", "duo_heads"} <= set(numbers["allocator"].dropna())
    assert text.count("**") >= 2 * 8  # the best pair of two benchmarks, question modes and budgets


@pytest.mark.parametrize("make", [figures.figure_matrix, figures.figure_pareto])
def test_figures_are_made_twice_the_same(make: Callable[..., None], run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make(run.predictions, tmp_path / name)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_with_one_ranker_nothing_was_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", benchmarks=("synth-ocr",), budgets=(16, 64), samples=5)
    for paths in (run.predictions, []):
        tables.table_matrix(paths, tmp_path / "table")
        assert "not run" in (tmp_path / "table.md").read_text(encoding="utf-8")
        for make in (figures.figure_matrix, figures.figure_pareto):
            make(paths, tmp_path / "figure")
            assert (tmp_path / "figure.png").is_file()
