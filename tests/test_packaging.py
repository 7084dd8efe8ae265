"""The files that say what to install agree with each other and with what is installed."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch": "torch"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def wanted() -> list[Requirement]:
    extras: dict[str, list[str]] = project()["optional-dependencies"]  # type: ignore[assignment]
    lines: list[str] = [*project()["dependencies"], *[line for extra in extras.values() for line in extra]]  # type: ignore[misc]
    return [Requirement(line) for line in lines]


def test_every_requirement_is_pinned_within_its_range() -> None:
    pinned = pins()
    for requirement in wanted():
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


def test_pins_are_exact_and_have_no_local_part() -> None:
    for name, version in pins().items():
        assert re.fullmatch(r"[0-9][0-9A-Za-z.]*", version), (name, version)


def test_conda_environment_names_the_pinned_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    named = dict(line.split("=", 1) for line in lines if line != "pip" and not line.startswith("python>"))
    (by_pip,) = (line["pip"] for line in environment["dependencies"] if not isinstance(line, str))
    named |= dict(line.split("==", 1) for line in by_pip)
    runtime: list[str] = project()["dependencies"]  # type: ignore[assignment]
    # Snakemake itself makes the environment; its jobs need the rest.
    needed = {normal(Requirement(line).name) for line in runtime} - {"snakemake"}
    assert {normal(CONDA_NAMES.get(name, name)) for name in named} == needed
    for name, version in named.items():
        assert pins()[normal(CONDA_NAMES.get(name, name))] == version, name


def test_everything_that_these_packages_bring_is_pinned() -> None:
    pinned, seen = pins(), set[str]()
    apart = ("snakemake-executor-plugin-slurm", "pycocoevalcap")  # extras that tests do without
    waiting = [requirement for requirement in wanted() if requirement.name not in apart]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            pytest.fail(f"{name} is required but not installed")
        # A CUDA build of torch brings its own packages, pinned by torch itself.
        if name.startswith(("nvidia-", "cuda-", "triton")):
            continue
        assert name in pinned, f"{name} is installed but not in constraints.txt"
        for line in distribution.requires or []:
            inner = Requirement(line)
            if inner.marker is None or inner.marker.evaluate({"extra": ""}):
                waiting.append(inner)


def test_the_oldest_python_is_the_same_wherever_it_is_asked_for() -> None:
    """What pip, ruff, mypy, conda and make refuse, and what the README says."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (oldest,) = SpecifierSet(str(project()["requires-python"]))
    assert oldest.operator == ">="
    major, minor = oldest.version.split(".")
    assert settings["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert settings["tool"]["mypy"]["python_version"] == oldest.version
    assert f"python>={oldest.version}" in environment["dependencies"]
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"Python (>= )?{re.escape(oldest.version)}\b", readme)


def test_licence_and_citation_name_project_and_paper() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"] == "Apache-2.0"
    assert "SparseMM" in citation["references"][0]["title"]


def test_what_figures_need_is_part_of_what_all_needs() -> None:
    lines = (ROOT / "requirements-figures.txt").read_text(encoding="utf-8").splitlines()
    light = [Requirement(line) for line in lines if line and not line.startswith("#")]
    runtime: list[str] = project()["dependencies"]  # type: ignore[assignment]
    needed = {normal(each.name): each.specifier for each in map(Requirement, runtime)}
    assert {"torch", "transformers"} <= needed.keys()
    for requirement in light:
        assert requirement.specifier == needed[normal(requirement.name)], requirement
    assert not {"torch", "transformers"} & {normal(each.name) for each in light}
