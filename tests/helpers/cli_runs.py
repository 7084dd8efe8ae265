"""Running the command line inside the tests: what it prints, as text or object, or the one line of its refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsemm.cli import main

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "data" / "models" / "tiny-llava-next-vicuna"
PUBLISHED = ROOT.parent / "shared" / "reference" / "head_scores" / "llava-next-vicuna-7b.json"
SHORT = ["--window", "8", "--max-new-tokens", "6"]


def printed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def objects(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    out = printed(capsys, *words, "--json")
    assert out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that must fail."""
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sparsemm: ")
    assert err.count("\n") == 1
    return err
