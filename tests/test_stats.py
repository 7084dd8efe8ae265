"""Bootstrap intervals and paired tests on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemm import stats
from sparsemm.errors import InputError
from sparsemm.stats import bootstrap_interval, bootstrap_mean, bootstrap_means, paired_bootstrap


def test_interval_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values, draws=4000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_mean_seed_and_level() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    mean, low, high = bootstrap_mean(values)
    assert mean == 0.6
    assert 0.0 <= low < mean < high <= 1.0
    assert bootstrap_mean(values) == (mean, low, high)
    other = bootstrap_means(values, seed=1, draws=50)
    assert not np.array_equal(other, bootstrap_means(values, seed=2, draws=50))
    narrow = bootstrap_interval(values, level=0.5)
    assert narrow[1] - narrow[0] < high - low
    assert bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)


def test_blocks_of_draws_are_a_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((30, 2, 3))
    monkeypatch.setattr(stats, "_BLOCK", 100)
    means = bootstrap_means(values, draws=1000)
    assert means.shape == (1000, 2, 3)
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(means.std(axis=0), values.std(axis=0) / 30**0.5, rtol=0.15)


def test_clusters_change_their_sign_together() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60)
    permutation = stats.paired_permutation
    apart = permutation(a, b)
    assert permutation(a, b, clusters=list(range(60))) == apart
    # Each pair four times over says no more than once, when the four are of one image.
    often = [np.repeat(side, 4) for side in (a, b)]
    assert permutation(*often, clusters=list(np.repeat(np.arange(60), 4))) == apart
    assert permutation([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], clusters=["a", "a", "a"]) == 1.0
    few = bootstrap_mean([0.0, 0.0, 1.0, 1.0], clusters=["a", "a", "b", "b"])
    assert few == (0.5, *bootstrap_interval([0.0, 1.0]))
    with pytest.raises(InputError, match="60 values have 2 cluster keys"):
        permutation(a, b, clusters=["a", "b"])


def test_clusters_are_drawn_whole() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((40, 2))
    apart = bootstrap_means(values)
    # A sample an image: the same draws give the same numbers, to the last bit.
    assert np.array_equal(apart, bootstrap_means(values, clusters=[f"i{n}" for n in range(40)]))
    # Each value four times over says no more than once, when the four are one image.
    four = bootstrap_means(np.repeat(values, 4, axis=0), clusters=list(np.repeat(np.arange(40), 4)))
    np.testing.assert_allclose(four, apart, atol=1e-12)
    assert bootstrap_interval([1.0, 2.0, 3.0], clusters=["a", "a", "a"]) == (2.0, 2.0)
    # Clusters of other sizes: a mean is over values, not over clusters.
    means = bootstrap_means([0.0, 3.0, 3.0], clusters=["a", "b", "b"], draws=500)
    assert set(means.round(9)) == {0.0, 2.0, 3.0}
    hard = rng.random(200)
    images = list(np.arange(200) // 4)
    wide, narrow = paired_bootstrap(hard, rng.random(200), clusters=images), paired_bootstrap(hard, hard)
    assert wide.low < wide.difference < wide.high
    assert narrow.low == 0
    with pytest.raises(InputError, match="3 values have 2 cluster keys"):
        bootstrap_means([1.0, 2.0, 3.0], clusters=["a", "b"])


def test_paired_bootstrap_sees_what_pairing_shows() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    better = paired_bootstrap(hard + 0.01, hard)
    assert better.difference == pytest.approx(0.01)
    assert better.low == pytest.approx(0.01)
    assert better.p_value < 0.01
    assert stats.paired_permutation(hard + 0.01, hard) < 0.01
    same = paired_bootstrap(hard, hard)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert stats.paired_permutation(hard, hard) == 1.0
    noise = paired_bootstrap(hard, rng.permutation(hard))
    assert noise.low < 0 < noise.high
    assert noise.p_value > 0.05


def test_spearman() -> None:
    ranks = np.array([0.1, 0.2, 0.3, 0.4])
    assert stats.spearman(ranks, ranks**3) == pytest.approx(1.0)
    assert stats.spearman(ranks, -ranks) == pytest.approx(-1.0)
    # ties share their mean rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    assert stats.spearman(np.array([0.0, 1.0, 1.0, 2.0]), ranks) == pytest.approx(0.9486833)
    assert stats.spearman(np.zeros(4), ranks) == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_interval([]), "at least one"),
        (lambda: bootstrap_interval([1.0, float("nan")]), "NaN"),
        (lambda: bootstrap_interval([1.0], level=95), "level is 95"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), "shapes"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_one_sided_p_values_are_shares_of_the_draws() -> None:
    draws = np.arange(1, 100) / 100  # 0.01 to 0.99
    assert stats.sides(draws, 0.05) == (pytest.approx(6 / 100), pytest.approx(96 / 100))
    assert stats.sides(draws, -1.0)[0] == pytest.approx(1 / 100)
    assert stats.sides(np.array([0.1 + 0.2 - 0.3]), 0.0) == (1.0, 1.0)  # the last bits are no difference


def test_equivalence_is_two_one_sided_tests() -> None:
    draws = np.random.default_rng(0).normal(0.0, 0.01, 4000)
    inside, outside = stats.equivalence(draws, 0.05)
    assert inside < 0.001
    assert outside == 1.0
    inside, outside = stats.equivalence(draws - 0.2, 0.05)
    assert inside == 1.0
    assert outside < 0.001
    assert stats.equivalence(draws + 0.05, 0.05)[0] == pytest.approx(0.5, abs=0.05)


def test_holm_adjusts_as_by_hand() -> None:
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(stats.holm([0.5, 0.9]), [1.0, 1.0])
    assert stats.holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_values_and_bonferroni(values: list[float]) -> None:
    adjusted = stats.holm(values)
    assert (adjusted >= np.array(values) - 1e-15).all()
    assert (adjusted <= np.minimum(1.0, np.array(values) * len(values)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(values, kind="stable")]) >= 0).all()


def test_ratios_leave_out_draws_without_one() -> None:
    found = stats.ratios(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, 4.0]))
    np.testing.assert_allclose(found, [0.5, 0.75])


def test_growth_of_a_line_and_its_interval() -> None:
    tokens = [2048, 4096, 8192, 16384, 32768]
    exact, draws = stats.growths(tokens, [10 + 10 * (t - 2048) / 30720 for t in tokens])
    assert exact == pytest.approx(1.0)
    np.testing.assert_allclose(draws, 1.0, atol=1e-6)
    rng, covered = np.random.default_rng(0), 0
    for seed in range(200):
        noisy = [10 + 10 * (t - 2048) / 30720 + rng.normal(0, 0.5) for t in tokens]
        low, high = stats.interval(stats.growths(tokens, noisy, draws=500, seed=seed)[1])
        covered += low <= 1.0 <= high
    assert 180 <= covered <= 198
    with pytest.raises(InputError, match="three points"):
        stats.growths([1, 2], [1.0, 2.0])
    with pytest.raises(InputError, match="start above 0"):
        stats.growths([1, 2, 3], [-1.0, 0.0, 1.0])
