"""`sparsemm verify`: a whole run has no fault, each kind of damage is named, two runs are told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sparsemm.cli import main
from sparsemm.errors import InputError
from sparsemm.reporting.against import BYTES, CLOSE, MISSING, OTHER, VALUES, compare_runs, verify_tables
from sparsemm.reporting.tables import table5
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.results.provenance import file_digest
from sparsemm.results.verify import MADE, verify_files

from helpers.fake_results import make_run

PREDICTIONS = "predictions/tiny-llava-next-vicuna/synth-ocr/0.parquet"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run in the folders of a real one."""
    root = tmp_path_factory.mktemp("verify")
    made = make_run(root / "run", benchmarks=("synth-ocr", "synth-docvqa"), budgets=(16, 64), samples=12)
    for path in (root / "run").rglob("*.parquet"):
        facts = read_metadata(path) | {name: "known" for name in MADE}
        write_table(path, read_table(path), facts.pop("kind"), facts)
    table5(made.predictions, root / "run" / "paper" / "table5")
    return root / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(path: Path, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    facts = read_metadata(path)
    write_table(path, how(read_table(path)), facts.pop("kind"), facts)


def test_a_whole_run_has_no_fault(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_files(whole) == []
    assert verify_tables(whole) == []
    assert main(["verify", str(whole)]) == 0
    assert "no faults" in capsys.readouterr().out


def test_a_file_that_was_made_from_another_file_is_named(run: Path) -> None:
    """As after a clock that went backwards: by its time the newer file is the older one, and nothing is made again."""
    path, scores = run / PREDICTIONS, run / "scores" / "tiny-llava-next-vicuna.parquet"
    facts = read_metadata(path) | {"inputs": {"scores/tiny-llava-next-vicuna.parquet": file_digest(scores)}}
    write_table(path, read_table(path), facts.pop("kind"), facts)
    assert verify_files(run) == []
    facts = read_metadata(scores) | {"seed": 17}
    write_table(scores, read_table(scores), facts.pop("kind"), facts)
    (fault,) = verify_files(run)
    assert fault.file == PREDICTIONS
    assert fault.text.startswith("was made from another scores/tiny-llava-next-vicuna.parquet than is there")
    scores.unlink()  # a part of a run may be looked at alone
    assert verify_files(run) == []


def drop_a_row(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(index=3).reset_index(drop=True)


def keep_more(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(kept_tokens=frame["kept_tokens"].where(frame["policy"] != "snapkv", 100.0))


def full_keeps_less(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(kept_tokens=frame["kept_tokens"].where(frame["policy"] != "fullkv", 10.0))


def flip_one(frame: pd.DataFrame) -> pd.DataFrame:
    """Another score of one sample, in a cell whose samples differ."""
    spread = frame.groupby(["policy", "budget"])["score"].std()
    policy, budget = spread.idxmax()
    row = frame.index[(frame["policy"] == policy) & (frame["budget"] == budget)][0]
    return frame.assign(score=frame["score"].where(frame.index != row, 1 - frame["score"]))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (drop_a_row, "rows are missing"),
        (keep_more, "keep more than their budget: sample"),
        (full_keeps_less, "full cache of sample"),
    ],
)
def test_damaged_predictions_are_named(
    how: Callable[[pd.DataFrame], pd.DataFrame],
    text: str,
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run / PREDICTIONS, how)
    (fault,) = verify_files(run)
    assert fault.file in (PREDICTIONS, str(Path(PREDICTIONS).parent))
    assert text in fault.text
    assert main(["verify", str(run), "--json"]) == 1
    assert text in json.loads(capsys.readouterr().out)["faults"][0]["text"]


def test_files_that_cannot_be_read_and_those_that_say_nothing_are_named(run: Path) -> None:
    path = run / PREDICTIONS
    path.write_bytes(path.read_bytes()[:-60])
    scores = next((run / "scores").glob("*.parquet"))
    facts = read_metadata(scores)
    write_table(scores, read_table(scores), facts.pop("kind"), {k: facts[k] for k in facts if k != MADE[0]})
    texts = {fault.file: fault.text for fault in verify_files(run)}
    assert "truncated" in texts[PREDICTIONS]
    assert f"does not say its {MADE[0]}" in texts[scores.relative_to(run).as_posix()]


def test_a_shard_of_another_configuration_and_a_shard_twice_are_named(run: Path) -> None:
    first = run / PREDICTIONS
    second = first.with_name("1.parquet")
    shutil.copy(first, second)
    assert "in two shards" in verify_files(run)[0].text
    facts = read_metadata(second) | {"config_sha256": "another"}
    frame = read_table(second)
    write_table(second, frame.assign(sample_id="x" + frame["sample_id"]), facts.pop("kind"), facts)
    assert "different configurations" in verify_files(run)[0].text


def test_scores_that_do_not_add_up_are_named(run: Path) -> None:
    scores = next((run / "scores").glob("*.parquet"))
    change(scores, lambda frame: frame.assign(score=frame["score"] * 0.9))
    assert "add up to 0.9, not 1" in verify_files(run)[0].text


def test_a_table_of_other_predictions_is_named(run: Path) -> None:
    change(run / PREDICTIONS, lambda frame: frame.assign(score=frame["score"] * 0.5))
    assert verify_files(run) == []
    (fault,) = verify_tables(run)
    assert fault.file == "paper/table5.csv"
    assert "not those of the predictions" in fault.text


def test_two_runs_are_told_apart(
    run: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {each.how for each in compare_runs(run, whole)} == {BYTES}
    assert main(["verify", str(run), "--against", str(whole)]) == 0
    other = PREDICTIONS.replace("synth-ocr", "synth-docvqa")
    facts = read_metadata(run / PREDICTIONS) | {"git_revision": "another"}
    write_table(run / PREDICTIONS, read_table(run / PREDICTIONS), facts.pop("kind"), facts)
    change(run / other, flip_one)
    how = {each.file: each.how for each in compare_runs(run, whole)}
    assert (how[PREDICTIONS], how[other]) == (VALUES, CLOSE)
    change(run / other, lambda frame: frame.assign(score=0.0))
    next((run / "keep").glob("*.parquet")).unlink()
    shutil.rmtree(run / "paper")
    found = {each.file: each for each in compare_runs(run, whole)}
    assert found[other].how == OTHER
    assert "cells outside" in found[other].detail
    assert MISSING in {each.how for each in found.values()}
    assert main(["verify", str(run), "--against", str(whole)]) == 1
    assert "cells outside" in capsys.readouterr().out


def test_a_folder_without_results_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="give the folder of a run"):
            verify_files(folder)
        assert main(["verify", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
