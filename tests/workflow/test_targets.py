"""The targets on Snakemake's command line."""

from __future__ import annotations

import pytest

from targets import asked_targets

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
