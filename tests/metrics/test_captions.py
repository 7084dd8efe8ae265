"""CIDEr: what its tokenizer is given and gives back; a made-up tokenizer and scorer stand for the real ones."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sparsemm.errors import InputError
from sparsemm.metrics import captions, cider, cider_lacks

Tokens = dict[int, list[str]]


def words(texts: dict[int, list[dict[str, str]]]) -> Tokens:
    return {key: [each["caption"].lower() for each in given] for key, given in texts.items()}


def installed(
    monkeypatch: pytest.MonkeyPatch, tokenize: Callable[..., Tokens]
) -> list[tuple[Tokens, Tokens]]:
    """Pretend that package and Java are there; returns what the scorer is given."""
    given: list[tuple[Tokens, Tokens]] = []

    def compute_score(references: Tokens, predictions: Tokens) -> tuple[float, list[float]]:
        given.append((references, predictions))
        return 1.5, [1.0, 2.0]

    made = SimpleNamespace(
        PTBTokenizer=lambda: SimpleNamespace(tokenize=tokenize),
        Cider=lambda: SimpleNamespace(compute_score=compute_score),
    )
    monkeypatch.setattr(captions.importlib, "import_module", lambda name: made)
    monkeypatch.setattr(captions.shutil, "which", lambda name: "/usr/bin/java")
    return given


def test_references_come_first_and_no_text_holds_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    given = installed(monkeypatch, words)
    breaks = "A\nbus\r\nstops\u2028here"
    assert cider([breaks, ""], [["The bus", "A bus\vx"], ["Snow"]]) == (1.5, [1.0, 2.0])
    assert given == [({0: ["the bus", "a bus x"], 1: ["snow"]}, {0: ["a bus stops here"], 1: [""]})]


def test_a_tokenizer_that_does_not_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(texts: Any) -> Tokens:
        raise PermissionError("no")

    installed(monkeypatch, broken)
    with pytest.raises(InputError, match="does not run"):
        cider(["a"], [["a"]])
    installed(monkeypatch, lambda texts: {0: [""]})
    with pytest.raises(InputError, match="gave no tokens"):
        cider(["a", "b"], [["a"], ["b"]])
    assert cider_lacks() is None


def test_captions_without_references_are_refused_before_anything_is_looked_for() -> None:
    with pytest.raises(InputError, match="answers is empty"):
        cider(["a"], [[]])
