"""Result files: the same rows give the same bytes, a wrong file gets one clear line, nothing partial stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sparsemm.errors import InputError
from sparsemm.results import parquet as results
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.results.provenance import provenance
from sparsemm.results.schemas import SCHEMAS

SAMPLES: dict[str, Any] = {
    "string": ["b", "a", "c"],
    "int32": [2, 1, 3],
    "int64": [20, 10, 30],
    "double": [0.2, 0.1, 0.3],
    "binary": [b"2", b"1", b"3"],
}
LISTS: dict[str, Any] = {  # by the type of their items
    "string": [["x", "y"]] * 3,
    "int64": [[1, 2], np.arange(3), []],
    "double": [(0.0, 1.0, 2.0, 3.0), np.zeros(4), []],
    "list<item: double>": [[(0.0, 1.0, 2.0, 3.0)], np.zeros((2, 4)), []],
}


def made_up(kind: str) -> pd.DataFrame:
    """Three valid rows of the kind, not in key order."""
    columns: dict[str, Any] = {}
    for field in SCHEMAS[kind]:
        if pa.types.is_list(field.type):
            columns[field.name] = LISTS[str(field.type.value_type)]
        else:
            columns[field.name] = SAMPLES[str(field.type)]
    return pd.DataFrame(columns)


@pytest.fixture(params=sorted(SCHEMAS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_rows_come_back_sorted_and_metadata_as_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.parquet"
    write_table(path, made_up(kind), kind, {"model": "m", "seed": np.int64(3)})
    frame = read_table(path, kind)
    assert list(frame.columns) == SCHEMAS[kind].names
    first = SCHEMAS[kind].names[0]
    assert list(frame[first]) == sorted(frame[first])
    assert read_metadata(path) == {"model": "m", "seed": 3, "kind": kind}
    assert [p.name for p in path.parent.iterdir()] == ["file.parquet"]


def test_order_of_rows_and_kind_of_frame_do_not_change_the_bytes(kind: str, tmp_path: Path) -> None:
    frame = made_up(kind)
    write_table(tmp_path / "a", frame, kind, {"x": 1, "y": 2})
    write_table(tmp_path / "b", frame.iloc[::-1].reset_index(drop=True), kind, {"y": 2, "x": 1})
    back = read_table(tmp_path / "a", kind)
    write_table(
        tmp_path / "c",
        pa.Table.from_pandas(back, SCHEMAS[kind], preserve_index=False),
        kind,
        {"x": 1, "y": 2},
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_reading_some_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "a", made_up("predictions"), "predictions", {})
    assert list(read_table(tmp_path / "a", "predictions", ["score", "policy"]).columns) == ["score", "policy"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda f: f.drop(columns="score"), "column score is missing"),
        (lambda f: f.assign(more=1), "column more is not in the schema"),
        (lambda f: f.assign(kept_tokens=[0.1, float("nan"), 0.2]), "column kept_tokens has 1 empty"),
        (lambda f: f.assign(sample_id=["a", None, "b"]), "column sample_id has 1 empty"),
        (lambda f: f.assign(budget="many"), "column budget does not hold int64"),
        (lambda f: f.assign(budget=1.5), "column budget does not hold int64"),
        (lambda f: f.assign(answers="a"), "column answers does not hold list"),
        (lambda f: pd.concat([f, f]), "3 rows repeat another's sample_id, policy, budget"),
    ],
)
def test_a_wrong_frame_is_named_and_leaves_no_file(tmp_path: Path, change: Any, fault: str) -> None:
    with pytest.raises(InputError) as error:
        write_table(tmp_path / "file", change(made_up("predictions")), "predictions", {})
    message = one_line(error)
    assert fault in message
    assert str(tmp_path / "file") in message
    assert list(tmp_path.iterdir()) == []


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown kind"):
        write_table(tmp_path / "file", made_up("keep"), "kept", {})


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(InputError) as error:
        write_table(tmp_path / "results" / "file", made_up("keep"), "keep", {})
    assert "results folder writable" in one_line(error)


def test_a_failed_write_keeps_the_old_file_and_no_partial_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_table(path, made_up("keep"), "keep", {})
    before = path.read_bytes()

    def full_disk(table: pa.Table, where: Path, **_: Any) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.pq, "write_table", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_table(path, made_up("keep"), "keep", {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good = tmp_path / "good"
    write_table(good, made_up("scores"), "scores", {})
    (tmp_path / "short").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "text").write_text("no parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign")
    changed = pq.read_table(good)
    pq.write_table(changed.drop_columns("score"), tmp_path / "column")
    nan = changed.set_column(5, changed.schema.field("score"), pa.array([0.1, float("nan"), 0.2]))
    pq.write_table(nan, tmp_path / "nan")
    for name, fault in {
        "missing": "is missing",
        "short": "truncated",
        "text": "truncated or no parquet",
        "foreign": "no result file of sparsemm",
        "column": "column score is missing",
        "nan": "column score has 1 empty or NaN",
    }.items():
        with pytest.raises(InputError) as error:
            read_table(tmp_path / name, "scores")
        assert fault in one_line(error)
        assert name in one_line(error)
    with pytest.raises(InputError, match="holds scores, not keep"):
        read_table(good, "keep")


def test_truncation_inside_the_data_is_found(tmp_path: Path) -> None:
    good = tmp_path / "good"
    write_table(good, made_up("scores"), "scores", {})
    data = good.read_bytes()
    (tmp_path / "hole").write_bytes(data[:4] + data[200:])
    with pytest.raises(InputError):
        read_table(tmp_path / "hole", "scores")


def test_provenance_is_the_same_twice_and_follows_the_configuration() -> None:
    config = {"seed": 1, "models": {"a": {"path": Path("x")}}}
    first = provenance(config, model="a", seed=1)
    assert first == provenance(dict(reversed(config.items())), model="a", seed=1)
    assert first["config_sha256"] != provenance({**config, "seed": 2})["config_sha256"]
    assert first["model"] == "a"
    assert {"torch", "transformers", "numpy", "pyarrow"} <= set(first["packages"])
    assert "git_revision" in first
