"""The targets on Snakemake's command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from project import ROOT
from targets import asked_targets, drawn_from_results
from values import ConfigError

CLI = "/somewhere/bin/snakemake"


@pytest.mark.parametrize(
    ("arguments", "targets"),
    [
        (["--cores", "1", "figures"], {"figures"}),
        (["figures", "claims", "--cores", "all", "-n"], {"figures", "claims"}),
        (["figures", "--configfile", "a.yaml", "b.yaml", "--config", "run=x"], {"figures"}),
        (["--cores", "2"], set()),
        (["--cores", "2", "--target-jobs", "make_table:table=claims", "--"], set()),
        (["figures", "--cores", "1", "--an-option-of-a-plugin", "3"], {"figures"}),
    ],
)
def test_targets_are_those_of_snakemakes_parser(arguments: list[str], targets: set[str]) -> None:
    found = asked_targets([CLI, *arguments])
    assert found - {"3"} == targets
    assert asked_targets(["/lib/snakemake/__main__.py", *arguments]) == found


def test_another_program_asks_for_nothing() -> None:
    assert asked_targets(["/bin/pytest", "figures"]) == set()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "a.parquet").touch()
    (tmp_path / "b.parquet").touch()
    return [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]


@pytest.mark.parametrize("asked", [{"figures"}, {"claims", "paper"}])
def test_finished_results_are_drawn_as_they_are(files: list[str], asked: set[str]) -> None:
    assert drawn_from_results(asked, "embedded", files)
    assert drawn_from_results(asked, "reference", files)


def test_the_experiment_runs_where_more_is_asked_or_something_is_missing(files: list[str]) -> None:
    assert not drawn_from_results(set(), "embedded", files)
    assert not drawn_from_results({"figures", "scores"}, "embedded", files)
    assert not drawn_from_results(
        {"figures"}, "embedded", [*files, "none.parquet"]
    )  # torch is installed here


def test_no_rule_changes_the_run_of_the_repository(files: list[str]) -> None:
    with pytest.raises(ConfigError, match="no rule changes"):
        drawn_from_results(set(), "reference", files)
    with pytest.raises(ConfigError, match=r"1 of 3 result files are missing, none\.parquet for one"):
        drawn_from_results({"paper"}, "reference", [*files, "none.parquet"])


def test_without_torch_missing_results_are_one_line(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="without torch no model runs; `make setup`"):
        drawn_from_results({"figures"}, "embedded", ["none.parquet"])
    assert not drawn_from_results(set(), "embedded", ["none.parquet"])


def test_what_tables_and_figures_read_is_what_must_be_there() -> None:
    paper, listed = (
        (ROOT / "workflow" / "rules" / name).read_text(encoding="utf-8")
        for name in ("paper.smk", "files.smk")
    )
    # What the explorer does without, where it is not there, is in recorded(...).
    explorer = (ROOT / "workflow" / "rules" / "explorer.smk").read_text(encoding="utf-8")
    explorer = re.sub(r"recorded\(\w+\)", "", explorer)
    body = re.search(r"^READ_BY_PAPER = \[(.*?)^\]", listed, flags=re.MULTILINE | re.DOTALL)
    assert body is not None
    known = set(re.findall(r"^    ([A-Z_]+),$", body[1], flags=re.MULTILINE))
    stages = set(re.findall(r"^([A-Z_]+)(?:, [A-Z_]+)* =", listed, flags=re.MULTILINE))
    stages |= {
        name
        for line in re.findall(r"^([A-Z_, ]+) = \(", listed, flags=re.MULTILINE)
        for name in line.split(", ")
    }
    inputs = paper.partition("# The text under each table and figure")[0]
    assert {name for name in re.findall(r"\b[A-Z_]{3,}\b", inputs + explorer) if name in stages} == known
