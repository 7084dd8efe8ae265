"""Head scores: files, grouping, sparsity, agreement, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparsemm import HeadScores
from sparsemm.errors import InputError
from sparsemm.results import read_table, write_table
from sparsemm.score_files import HeadSamples, model_name

PUBLISHED = Path(__file__).parents[2] / "shared/reference/head_scores/llava-next-vicuna-7b.json"


def make_samples(images: int = 12, layers: int = 3, heads: int = 4, seed: int = 0) -> HeadSamples:
    rng = np.random.default_rng(seed)
    strength = np.arange(1, layers * heads + 1).reshape(layers, heads) ** 2
    hits = rng.poisson(strength / 10, (images, layers, heads)).astype(np.int64)
    return HeadSamples(
        image_ids=tuple(f"image-{i:03d}" for i in range(images)),
        hits=hits,
        weights=hits * rng.uniform(0.1, 0.5, hits.shape),
        matched=rng.integers(20, 40, images),
    )


def make_scores(**arguments) -> HeadScores:
    metadata = {"model": "tiny", "seed": 0}
    return HeadScores.from_samples(make_samples(), num_kv_heads=2, metadata=metadata, **arguments)


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


@pytest.mark.skipif(
    not PUBLISHED.is_file(), reason="the published head scores are not beside this repository"
)
def test_published_scores() -> None:
    scores = HeadScores.load(PUBLISHED)
    assert scores.values.shape == (32, 32)
    assert scores.values.dtype == np.float64
    assert scores.values.sum() == pytest.approx(1.0, abs=1e-12)
    shares = [scores.top_share(fraction) for fraction in (0.01, 0.05, 0.1)]
    assert shares == pytest.approx([0.19, 0.55, 0.77], abs=0.011)


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
    ("path", "name"),
    [
        ("llava-hf/llava-v1.6-vicuna-7b-hf", "llava-v1.6-vicuna-7b-hf"),
        ("hub/models--llava-hf--llava-v1.6-vicuna-7b-hf/snapshots/0a1b/", "llava-v1.6-vicuna-7b-hf"),
        ("hub/models--gpt2/snapshots/0a1b", "gpt2"),
        ("data/models/tiny", "tiny"),
        ("", ""),
    ],
)
def test_a_models_own_name(path: str, name: str) -> None:
    assert model_name(path) == name


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a scores file"),
        ("[1, 2]", "not a scores file"),
        ('{"a-b": [1]}', "not a scores file"),
        ('{"0-0-0": [1]}', "keys must read"),
        ("{}", "keys must read"),
        ('{"0-0": ["x"]}', "not a scores file"),
        ('{"0-0": [1], "1-1": [1]}', "incomplete"),
        ('{"0-0": [NaN], "0-1": [1]}', "NaN"),
        ('{"0-0": [], "0-1": [1]}', "NaN"),
        ('{"0-0": [0], "0-1": [0]}', "score 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_bad_json_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        HeadScores.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_parquet_names_the_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.parquet"
    with pytest.raises(InputError, match=r"missing\.parquet"):
        HeadScores.load(missing)
    with pytest.raises(InputError, match=r"missing\.json"):
        HeadScores.load(tmp_path / "missing.json")
    frame = make_scores().frame()
    hole = tmp_path / "hole.parquet"
    write_table(hole, frame.iloc[1:], "scores", {})
    with pytest.raises(InputError, match=r"hole\.parquet.*do not fill"):
        HeadScores.load(hole)
    good, rows = tmp_path / "good.parquet", tmp_path / "rows.parquet"
    make_scores().save(good, samples=rows)
    write_table(rows, read_table(rows, "score_samples").iloc[:-1], "score_samples", {})
    with pytest.raises(InputError, match=r"rows\.parquet.*do not fill"):
        HeadScores.load(good, samples=rows)
