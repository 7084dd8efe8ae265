"""Memory and time grow with the attempts of the Slurm profile; the container's definition names what is there."""

from __future__ import annotations

import re
from typing import Any

import yaml

from project import ROOT

PROFILE = ROOT / "workflow/profiles/slurm/config.yaml"
CONTAINER = ROOT / "workflow/container/sparsemm.def"


def profile() -> dict[str, Any]:
    return yaml.safe_load(PROFILE.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def rules() -> dict[str, str]:
    """The text of every rule by its name."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    found = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2]))


def test_memory_and_time_grow_with_every_attempt() -> None:
    settings = profile()
    every = [settings["default-resources"], *settings["set-resources"].values()]
    assert all(str(each[key]).endswith(" * attempt") for each in every for key in ("mem_mb", "runtime"))
    assert settings["retries"] >= 1
    for name, text in rules().items():
        granted = re.findall(r"^\s+(?:mem_mb|runtime)=(.*),$", text, flags=re.MULTILINE)
        assert all(re.fullmatch(r"grows\(\d+\)", amount) for amount in granted), name


def test_the_container_has_its_sections_and_copies_files_that_are_there() -> None:
    text = CONTAINER.read_text(encoding="utf-8")
    head, *sections = re.split(r"^%(\w+)$", text, flags=re.MULTILINE)
    header = dict(re.findall(r"^(\w+): (\S+)$", head, flags=re.MULTILINE))
    assert header["Bootstrap"] == "docker"
    assert ":" in header["From"], "an image without a tag changes under our feet"
    parts = dict(zip(sections[::2], sections[1::2]))
    assert set(parts) == {"files", "post", "environment", "runscript", "test"}
    copied = [line.split() for line in parts["files"].strip().splitlines()]
    assert all((ROOT / source).exists() for source, _ in copied)
    assert {source for source, _ in copied} >= {"environment.yml", "constraints.txt", "pyproject.toml", "src"}
