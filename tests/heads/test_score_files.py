"""The files of head scores: folders beside a model, sums and means per image, names, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsemm import HeadScores
from sparsemm.errors import InputError
from sparsemm.results.parquet import read_table, write_table
from sparsemm.results.provenance import model_name

from helpers.head_scores import make_samples, make_scores


def test_folder_round_trip(tmp_path: Path) -> None:
    scores = make_scores()
    folder = tmp_path / "new" / "model"
    assert scores.save_pretrained(folder) == folder / "head_scores.parquet"
    again = HeadScores.from_pretrained(folder, model="org/tiny")
    np.testing.assert_array_equal(again.values, scores.values)
    np.testing.assert_array_equal(again.samples.means, scores.samples.means)
    assert again.metadata.items() >= scores.metadata.items()
    assert again.agreement(again).spearman_interval is not None
    with pytest.raises(InputError, match="'tiny' cannot serve 'large'"):
        HeadScores.from_pretrained(folder, model="large")
    HeadScores(values=np.ones((2, 2))).save_pretrained(folder)  # of another model, without rows per image
    assert [path.name for path in folder.iterdir()] == ["head_scores.parquet"]
    assert HeadScores.from_pretrained(str(folder), model="anything").samples is None


def test_a_folder_without_scores_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"head_scores\.parquet: no head scores there"):
        HeadScores.from_pretrained(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        make_scores().save_pretrained(file)
    assert "\n" not in str(caught.value)


def test_rows_of_another_run_are_refused(tmp_path: Path) -> None:
    make_scores().save_pretrained(tmp_path)
    HeadScores(values=np.eye(3, 4)).save(tmp_path / "head_scores.parquet")
    with pytest.raises(InputError, match=r"samples\.parquet: its rows do not add up to the scores"):
        HeadScores.from_pretrained(tmp_path)


def test_the_published_format_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    scores = make_scores()
    scores.save(tmp_path / "new" / "scores.json")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scores.json"]
    with pytest.raises(InputError, match=r"scores\.json: cannot be written"):
        scores.save(tmp_path / "new" / "scores.json" / "scores.json")


def test_sums_and_means_per_token_are_stored(tmp_path: Path) -> None:
    samples = make_samples()
    samples.matched[3] = 0  # an image whose answer matched nothing
    samples.weights[3] = samples.hits[3] = 0
    HeadScores.from_samples(samples).save(tmp_path / "scores.parquet", samples=tmp_path / "rows.parquet")
    rows = read_table(tmp_path / "rows.parquet", "score_samples")
    some = rows[rows["matched_tokens"] > 0]
    np.testing.assert_allclose(some["mean"] * some["matched_tokens"], some["weight"])
    assert (rows["mean"][rows["matched_tokens"] == 0] == 0).all()
    # the paper's score, a mean over all matched tokens, is the stored one before it is brought to sum 1
    tokens = rows.groupby("image_id")["matched_tokens"].first().sum()
    paper = rows.groupby(["layer", "head"])["weight"].sum().to_numpy().reshape(3, 4) / tokens
    np.testing.assert_allclose(paper / paper.sum(), HeadScores.load(tmp_path / "scores.parquet").values)


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
