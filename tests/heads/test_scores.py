"""Head scores: files, grouping, sparsity, agreement, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsemm import HeadScores
from sparsemm.errors import InputError
from sparsemm.heads.samples import HeadSamples
from sparsemm.results.parquet import read_table

from helpers.head_scores import make_samples, make_scores
from helpers.published import PUBLISHED, needs_published


def test_scores_are_the_shares_of_the_weights() -> None:
    samples = make_samples()
    scores = HeadScores.from_samples(samples)
    per_image = np.zeros((3, 4))
    for weights in samples.weights:
        per_image += weights
    np.testing.assert_allclose(scores.values, per_image / per_image.sum())
    assert scores.values.sum() == pytest.approx(1.0)
    assert scores.matched == samples.matched.sum()
    np.testing.assert_array_equal(scores.hits, samples.hits.sum(axis=0))
    assert (scores.ci_low <= scores.values).all()
    assert (scores.values <= scores.ci_high).all()


def test_parquet_round_trip(tmp_path: Path) -> None:
    scores = make_scores()
    path, rows = tmp_path / "scores.parquet", tmp_path / "samples.parquet"
    scores.save(path, samples=rows)
    again = HeadScores.load(path, samples=rows)
    for name in ("values", "hits", "ci_low", "ci_high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scores, name))
    for name in ("hits", "weights", "matched"):
        np.testing.assert_array_equal(getattr(again.samples, name), getattr(scores.samples, name))
    assert again.samples.image_ids == scores.samples.image_ids
    assert again.matched == scores.matched
    assert again.num_kv_heads == 2
    assert again.metadata["model"] == "tiny"
    assert read_table(path, "scores")["kv_head"].tolist() == [0, 0, 1, 1] * 3
    bytes_before = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == bytes_before
    assert HeadScores.load(path).samples is None


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"0-0": [0.0, 2.0], "0-1": [3.0], "1-0": [0.0], "1-1": [4.0, 4.0, 4.0]}))
    scores = HeadScores.load(path)
    np.testing.assert_allclose(scores.values, [[0.125, 0.375], [0.0, 0.5]])
    scores.save(path)
    np.testing.assert_array_equal(HeadScores.load(str(path)).values, scores.values)


def test_plain_scores_can_be_saved(tmp_path: Path) -> None:
    scores = HeadScores(values=np.array([[3.0, 1.0]]))
    scores.save(tmp_path / "plain.parquet")
    np.testing.assert_array_equal(HeadScores.load(tmp_path / "plain.parquet").values, [[0.75, 0.25]])
    with pytest.raises(InputError, match="no per-image rows"):
        scores.save(tmp_path / "other.parquet", samples=tmp_path / "rows.parquet")
    assert not (tmp_path / "other.parquet").exists()


@needs_published
def test_published_scores() -> None:
    scores = HeadScores.load(PUBLISHED)
    assert scores.values.shape == (32, 32)
    assert scores.values.dtype == np.float64
    assert scores.values.sum() == pytest.approx(1.0, abs=1e-12)
    shares = [scores.top_share(fraction) for fraction in (0.01, 0.05, 0.1)]
    assert shares == pytest.approx([0.19, 0.55, 0.77], abs=0.011)


@needs_published
def test_published_scores_by_group_curve_and_agreement(tmp_path: Path) -> None:
    scores = HeadScores.load(PUBLISHED)
    table = json.loads(PUBLISHED.read_text())
    grouped = scores.per_kv_head(8)
    total = sum(np.mean(cell) for cell in table.values())
    for layer, group in ((0, 0), (14, 3), (31, 7)):
        members = [np.mean(table[f"{layer}-{head}"]) for head in range(4 * group, 4 * group + 4)]
        assert grouped[layer, group] == pytest.approx(sum(members) / total)
    heads, held = scores.sparsity_curve()
    assert (heads[-1], held[-1]) == (1.0, pytest.approx(1.0))
    assert (np.diff(held) >= 0).all()
    assert (np.diff(held, 2) <= 1e-15).all()  # best first: ever less is added
    assert held[51] == pytest.approx(scores.top_share(0.05))  # 51.2 heads, rounded up
    best = max(table, key=lambda key: np.mean(table[key]))
    assert scores.ranking()[0] == tuple(map(int, best.split("-")))
    scores.save_pretrained(tmp_path)
    again = HeadScores.from_pretrained(tmp_path)
    assert (again.agreement(scores).spearman, again.agreement(scores).overlap) == (pytest.approx(1.0), 1.0)
    halves = [
        HeadScores(values=[[table[f"{i}-{j}"][side] for j in range(32)] for i in range(32)])
        for side in (0, -1)
    ]
    found = halves[0].agreement(halves[1], top=0.05)
    assert found.spearman_interval is None
    ranks = [pd.Series(half.values.ravel()).rank() for half in halves]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    best52 = [set(half.ranking()[:52]) for half in halves]
    assert found.overlap == len(best52[0] & best52[1]) / 52
    shuffled = HeadScores(values=np.random.default_rng(0).permutation(scores.values.ravel()).reshape(32, 32))
    chance = scores.agreement(shuffled, top=0.05)
    assert abs(chance.spearman) < 0.15
    assert chance.overlap < 0.25


def test_intervals_of_agreement_shrink_with_more_images() -> None:
    def width(images: int) -> float:
        first, second = (HeadScores.from_samples(make_samples(images, seed=seed)) for seed in (1, 2))
        low, high = first.agreement(second, draws=200).spearman_interval
        return high - low

    assert width(200) < width(8) / 2


def test_grouping() -> None:
    scores = HeadScores(values=np.arange(1.0, 13.0).reshape(2, 6))
    np.testing.assert_allclose(scores.per_kv_head(2), np.array([[6, 15], [24, 33]]) / 78)
    np.testing.assert_array_equal(scores.per_kv_head(6), scores.values)
    assert scores.per_kv_head(1).sum() == pytest.approx(1.0)
    for bad in (0, 4, 12):
        with pytest.raises(InputError, match="do not group"):
            scores.per_kv_head(bad)


def test_ranking_and_sparsity() -> None:
    scores = HeadScores(values=np.array([[4.0, 1.0], [4.0, 11.0]]))
    assert scores.ranking() == [(1, 1), (0, 0), (1, 0), (0, 1)]
    heads, held = scores.sparsity_curve()
    np.testing.assert_allclose(heads, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(held, [0.55, 0.75, 0.95, 1.0])
    assert scores.top_share(0.5) == pytest.approx(0.75)
    assert scores.top_share(0.26) == pytest.approx(0.75)
    assert scores.top_share(0.01) == pytest.approx(0.55)
    with pytest.raises(InputError, match="fraction"):
        scores.top_share(0)


def test_agreement() -> None:
    scores = make_scores()
    itself = scores.agreement(HeadScores(values=scores.values), top=0.25)
    assert itself.spearman == pytest.approx(1.0)
    assert itself.overlap == 1.0
    assert itself.spearman_interval[0] < 1.0
    assert 0.0 <= itself.overlap_interval[0] <= itself.overlap_interval[1] <= 1.0
    other = HeadScores.from_samples(make_samples(seed=5))
    both = scores.agreement(other, draws=200)
    assert both.spearman_interval[0] <= both.spearman <= both.spearman_interval[1] + 0.05
    assert both == scores.agreement(other, draws=200)
    bare = HeadScores(values=scores.values).agreement(HeadScores(values=scores.values[::-1].copy()))
    assert (bare.spearman_interval, bare.overlap_interval) == (None, None)
    assert bare.spearman < 1.0
    with pytest.raises(InputError, match="cannot be compared"):
        scores.agreement(HeadScores(values=np.ones((2, 2))))


def test_another_model_is_refused() -> None:
    scores = make_scores()
    scores.require_model("tiny", num_layers=3, num_heads=4)
    with pytest.raises(InputError, match="scores of model 'tiny' cannot serve 'large'"):
        scores.require_model("large")
    with pytest.raises(InputError, match="3 layers cannot serve 'tiny', which has 5"):
        scores.require_model("tiny", num_layers=5)
    HeadScores(values=np.ones((2, 2))).require_model("anything")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([[1.0, np.inf]]), "NaN, infinite"),
        (np.array([[2.0, -1.0]]), "negative"),
        (np.zeros((2, 2)), "score 0"),
        (np.ones(4), "shape"),
    ],
)
def test_bad_values_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        HeadScores(values=values)


def test_no_hit_at_all_is_refused() -> None:
    empty = HeadSamples(("a",), np.zeros((1, 2, 2), np.int64), np.zeros((1, 2, 2)), np.array([3]))
    with pytest.raises(InputError, match="no attention hit"):
        HeadScores.from_samples(empty)
