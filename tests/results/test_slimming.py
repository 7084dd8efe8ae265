"""A reference run: the same values and provenance in fewer bytes, whole or not at all; tables are made of it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sparsemm.cli import main
from sparsemm.errors import InputError
from sparsemm.reporting.against import MISSING, PART, VALUES, compare_runs
from sparsemm.reporting.tables import table5
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.results.slimming import FIRST_OF, slim_run
from sparsemm.results.verify import MADE

from helpers.fake_results import make_run

PROBE = "probe/llava_next.parquet"
FACTS = {name: "known" for name in MADE}


def pages(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"page-{i:03d}" for i in range(count)],
            "image": [bytes([i]) * 50 for i in range(count)],
            "words": [["A", "B"]] * count,
            "boxes": [[[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]]] * count,
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run with probe pages, a further set, a log and work in progress."""
    folder = tmp_path_factory.mktemp("slim") / "run"
    make_run(folder, benchmarks=("synth-ocr",), budgets=(16, 64), samples=12)
    for path in folder.rglob("*.parquet"):
        facts = read_metadata(path) | FACTS
        write_table(path, read_table(path), facts.pop("kind"), facts)
    write_table(folder / PROBE, pages(30), "probe", FACTS)
    write_table(folder / "probe/sets/wild/plain.parquet", pages(3), "probe", FACTS)
    (folder / "logs").mkdir()
    (folder / "logs" / "a.log").write_text("a line\n")
    write_table(folder / "work" / "part.parquet", pages(1), "probe", FACTS)
    return folder


def test_values_types_and_provenance_stay(run: Path, tmp_path: Path) -> None:
    found = slim_run(run, tmp_path / "reference")
    made = sorted(path.relative_to(tmp_path / "reference") for path in (tmp_path / "reference").rglob("*.*"))
    assert found.files == len(made) > 8
    assert found.left_out == 1
    assert found.bytes_after < found.bytes_before
    for name in made:
        mine, theirs = tmp_path / "reference" / name, run / name
        assert pq.read_schema(mine).equals(pq.read_schema(theirs)), name
        if name != Path(PROBE):
            assert read_metadata(mine) == read_metadata(theirs), name
            pd.testing.assert_frame_equal(read_table(mine), read_table(theirs))


def test_of_the_probe_set_the_first_pages_stay_and_the_file_says_so(run: Path, tmp_path: Path) -> None:
    slim_run(run, tmp_path / "reference", pages=5)
    made = tmp_path / "reference" / PROBE
    pd.testing.assert_frame_equal(read_table(made), read_table(run / PROBE)[:5])
    assert read_metadata(made) == read_metadata(run / PROBE) | {FIRST_OF: 30}
    slim_run(tmp_path / "reference", tmp_path / "again", pages=2)
    assert read_metadata(tmp_path / "again" / PROBE)[FIRST_OF] == 30


def test_the_run_agrees_with_its_reference(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--to", "reference", "--out", str(tmp_path / "reference")]) == 0
    assert "result files" in capsys.readouterr().out
    assert {each.how for each in compare_runs(run, tmp_path / "reference")} == {VALUES, PART, MISSING}
    assert main(["verify", str(run), "--against", str(tmp_path / "reference")]) == 0
    said = capsys.readouterr().out
    assert "the first 24 of 30 pages" in said
    assert f"not in {tmp_path / 'reference'}: 1 file of probe/sets" in said
    predictions = sorted((tmp_path / "reference").glob("predictions/*/*/*.parquet"))
    table5(predictions, tmp_path / "table5")
    assert (tmp_path / "table5.csv").is_file()


def test_a_folder_that_holds_something_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        slim_run(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_file_leaves_nothing_behind(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(run, tmp_path / "run"))
    damaged = copy / PROBE
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(InputError, match="truncated"):
        slim_run(copy, tmp_path / "reference")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
