"""Resume: finished parts are used again by the same work alone, and a damaged part is never used."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsemm.errors import InputError
from sparsemm.results import resume
from sparsemm.results.resume import ResumableWork, Rows, discard

ROWS: Rows = [{"id": "a", "score": 0.1, "answers": ["é", ""], "kept": None, "n": 12}, {"id": "b", "score": -1e-300}]


class Maker:
    """Makes the rows and counts how often."""

    def __init__(self, rows: Any = ROWS) -> None:
        self.rows, self.calls = rows, 0

    def __call__(self) -> Rows:
        self.calls += 1
        return self.rows  # type: ignore[no-any-return]


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_finished_part_is_not_made_again(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):  # each run is a new object, as after a kill
        assert ResumableWork(tmp_path / "deep" / "work", {"model": "m"}).get(0, make) == ROWS
    assert make.calls == 1
    assert ResumableWork(tmp_path / "deep" / "work", {"model": "m"}).get(1, make) == ROWS
    assert make.calls == 2
    discard(tmp_path / "deep" / "work")
    assert not (tmp_path / "deep" / "work").exists()
    discard(tmp_path / "deep" / "work")
    discard(None)


def test_parts_of_other_facts_inputs_or_code_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"model": "m", "seed": 0, "folder": Path("x")}
    ResumableWork(tmp_path, facts).get(0, Maker(), "images")
    make = Maker([{"other": 1}])
    assert ResumableWork(tmp_path, facts | {"seed": 1}).get(0, make, "images") == make.rows
    assert ResumableWork(tmp_path, facts | {"folder": Path("y")}).get(0, make, "images") == make.rows
    with monkeypatch.context() as patch:
        patch.setattr(resume, "_code_digest", lambda: "other code")
        assert ResumableWork(tmp_path, facts).get(0, make, "images") == make.rows
    assert make.calls == 3
    assert ResumableWork(tmp_path, dict(reversed(facts.items()))).get(0, make, "images") == ROWS
    assert ResumableWork(tmp_path, facts).get(0, make, "other images") == make.rows
    assert make.calls == 4


def test_the_code_of_every_module_counts(tmp_path: Path) -> None:
    """Seen from a copy of the package: a changed character changes the key."""
    package = Path(resume.__file__).parents[1]
    copied = tmp_path / "src" / "sparsemm"
    for file in [package / "__init__.py", package / "errors.py", *(package / "results").glob("*.py")]:
        target = copied / file.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    code = "from sparsemm.results.resume import _fingerprint; print(_fingerprint({}))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}

    def key() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    before = key()
    assert key() == before
    (copied / "kernels.py").write_text("# one more module\n")
    assert key() != before


def test_truncated_at_any_byte_it_is_made_again(tmp_path: Path) -> None:
    ResumableWork(tmp_path, {}).get(0, Maker())
    file = only_file(tmp_path)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        make = Maker()
        assert ResumableWork(tmp_path, {}).get(0, make) == ROWS
        assert make.calls == 1, f"used a file of {length} of {len(whole)} bytes"
        assert file.read_bytes() == whole


def test_with_a_bit_flipped_in_any_byte_its_wrong_rows_are_never_used(tmp_path: Path) -> None:
    ResumableWork(tmp_path, {}).get(0, Maker())
    file = only_file(tmp_path)
    whole = file.read_bytes()
    made = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        make = Maker()
        assert ResumableWork(tmp_path, {}).get(0, make) == ROWS, f"used byte {place} damaged"
        made += make.calls
    assert made >= len(whole) - 2  # but for flips that leave the rows, such as \u00e9 as \u00E9


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"rows": [], "sha256": 1}', '{"sha256": "x"}', "\xff"])
def test_a_foreign_file_under_the_name_is_made_again(text: str, tmp_path: Path) -> None:
    ResumableWork(tmp_path, {}).get(0, Maker())
    only_file(tmp_path).write_text(text, encoding="latin-1")
    assert ResumableWork(tmp_path, {}).get(0, Maker()) == ROWS


@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_floats_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    folder = tmp_path_factory.mktemp("work")
    rows = [{"value": value} for value in values]
    ResumableWork(folder, {}).get(0, Maker(rows))
    found = ResumableWork(folder, {}).get(0, Maker([]))
    assert [math.copysign(1, row["value"]) for row in found] == [math.copysign(1, value) for value in values]
    assert found == rows


def test_fresh_and_resumed_rows_have_the_same_types(tmp_path: Path) -> None:
    make = Maker([{"pair": (1, 2.5), "by": {1: "a"}}])
    without, fresh, resumed = (
        ResumableWork(folder, {}).get(0, make) for folder in (None, tmp_path, tmp_path)
    )
    assert repr(without) == repr(fresh) == repr(resumed)
    assert make.calls == 2


def test_without_a_folder_everything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, work = Maker(), ResumableWork(None, {"model": "m"})
    assert [work.get(0, make) for _ in range(2)] == [ROWS, ROWS]
    assert make.calls == 2
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_fails_or_is_killed_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Rows:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        ResumableWork(tmp_path, {}).get(0, fail)
    with pytest.raises(TypeError):
        ResumableWork(tmp_path, {}).get(0, Maker([{"no json": object()}]))
    assert list(tmp_path.iterdir()) == []
    code = (
        "import os, signal; from sparsemm.results.resume import ResumableWork\n"
        f"work = ResumableWork({str(tmp_path)!r}, {{}})\n"
        "work.get(0, lambda: [{'a': 1}])\n"
        "work.get(1, lambda: os.kill(os.getpid(), signal.SIGKILL))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(resume.__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    make = Maker()
    assert ResumableWork(tmp_path, {}).get(0, make) == [{"a": 1}]
    assert make.calls == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        ResumableWork(tmp_path / "file" / "work", {}).get(0, Maker())
    assert "\n" not in str(caught.value)
