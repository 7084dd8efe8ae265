"""The command line run inside the test process: its output as text or JSON, or its one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsemm.cli import main

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "data" / "models" / "tiny-llava-next-vicuna"
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
    """The one line on stderr of a command that must fail."""
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sparsemm: ")
    assert err.count("\n") == 1
    return err
