"""Agreement of rankings whose truth is known: equal, reversed, independent, unread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sparsemm.errors import InputError
from sparsemm.heads.agreement import compare
from sparsemm.heads.scores import HeadScores
from sparsemm.reporting.agreement import (
    BASE,
    Ranking,
    agree,
    agreement_interval,
    agreements,
    read_rankings,
    split_half,
)
from sparsemm.results.parquet import read_table, write_table

from helpers.fake_probes import make_probe_run

SCORES = arrays.arrays(np.float64, 40, elements=st.floats(0, 1))


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(1, 40))
def test_agreement_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray, top: int) -> None:
    found = agree(a, b, top)
    assert found == pytest.approx(agree(b, a, top))
    assert -1 - 1e-9 <= found.spearman <= 1 + 1e-9
    assert max(0, 2 * top - 40) / top - 1e-9 <= found.overlap <= 1
    assert agree(a, a, top).overlap == 1
    rank, overlap = compare(a[None], b[None], top)
    assert (found.spearman, found.overlap) == (rank[0], overlap[0])


def test_equal_and_reversed_rankings() -> None:
    scores = np.arange(30.0)
    assert agree(scores, scores) == pytest.approx((1.0, 1.0))
    assert agree(scores, -scores) == pytest.approx((-1.0, 0.0))
    with pytest.raises(InputError, match="cannot be compared"):
        agree(scores, scores[:29])


def test_the_run_agrees_where_it_was_made_to(tmp_path: Path) -> None:
    run = make_probe_run(tmp_path, models=("a", "b"), unread="blank")
    rankings = read_rankings(run.scores, run.set_scores, run.samples, run.set_samples)
    assert [(r.model, r.probe) for r in rankings] == [
        (model, probe) for model in "ab" for probe in (BASE, "same", "other", "blank")
    ]
    table = agreements(rankings, draws=200).set_index(["model", "probe"])
    for model in "ab":
        same, other, blank = (table.loc[model, probe] for probe in ("same", "other", "blank"))
        assert (same["heads"], same["top"], same["overlap_by_chance"]) == (72, 7, 7 / 72)
        assert same["spearman"] > 0.8 > 0.5 > abs(other["spearman"])
        assert same["overlap"] >= 5 / 7 > other["overlap"]
        assert same["spearman_low"] <= same["spearman"] + 0.02
        assert same["half_spearman"] > 0.7
        assert blank["uniform"] == "no token matched"
        assert np.isnan(blank["spearman"])
        assert same["uniform"] == ""


def test_the_interval_holds_the_agreement_of_two_draws_of_one_set() -> None:
    rng = np.random.default_rng(0)
    mean = rng.pareto(1.1, 72)
    sets = [rng.gamma(1.0, np.tile(mean, (40, 1))) for _ in range(2)]
    first, second = (Ranking("m", name, w.sum(0) / w.sum(), w) for name, w in zip("ab", sets))
    low, high = agreement_interval(first, second, draws=300)
    point = agree(first.scores, second.scores)
    assert low.overlap <= point.overlap <= high.overlap
    assert high.spearman - low.spearman < 0.3
    without = Ranking("m", "c", second.scores)
    assert agreement_interval(without, without, draws=20) == (pytest.approx((1, 1)), pytest.approx((1, 1)))


def test_halves_of_a_set() -> None:
    steady = np.tile(np.arange(1.0, 21.0), (10, 1))
    assert split_half(Ranking("m", BASE, steady[0] / steady[0].sum(), steady)) == pytest.approx((1.0, 1.0))
    assert split_half(Ranking("m", BASE, steady[0], None)) is None
    assert split_half(Ranking("m", BASE, steady[0], steady[:1])) is None
    assert split_half(Ranking("m", BASE, steady[0], 0 * steady)) is None


def test_files_without_samples_and_samples_of_other_heads(tmp_path: Path) -> None:
    run = make_probe_run(tmp_path)
    table = agreements(read_rankings(run.scores, run.set_scores))
    assert (table["spearman_low"] == table["spearman"]).all()
    assert table["half_spearman"].isna().all()
    scores = [HeadScores.load(path) for path in (run.scores[0], run.set_scores[0])]
    found = scores[0].agreement(scores[1])
    assert table.loc[0, "spearman"] == pytest.approx(found.spearman)
    frame = read_table(run.samples[0])
    write_table(run.samples[0], frame[frame["head"] > 0], "score_samples", {})
    with pytest.raises(InputError, match="score the heads again"):
        read_rankings(run.scores, run.set_scores, run.samples)
