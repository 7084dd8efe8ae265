"""Probe images that a tiny random model seems to read, and settings to score them with."""

from __future__ import annotations

from typing import Any

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.heads.matching import token_texts
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.recording import generate_greedily
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.loading import build_inputs

from helpers.tiny import image, model, processor

SIZES = [(60, 40), (20, 64), (64, 64), (33, 50), (128, 96)]  # prompts of unequal length: padded batches
NEW = 12


def settings_of(**changes: Any) -> ScoringSettings:
    """The settings of most scoring tests, with changes."""
    usual: dict[str, Any] = {
        "prompt": READ_PROMPT,
        "max_new_tokens": NEW,
        "batch_size": 8,
        "convention": "released",
        "matching": "stripped",
        "progress": False,
    }
    return ScoringSettings(**usual | changes)


def answers_of(variant: str, images: list[Any], new: int = NEW) -> list[list[int]]:
    inputs = build_inputs(processor(), images, [READ_PROMPT] * len(images), "cpu")
    return generate_greedily(model(variant), processor().tokenizer, inputs, new)


def make_probe(variant: str) -> list[ProbeImage]:
    """Probe images whose words hold the characters that this random model generates for them."""
    probe = []
    for index, (width, height) in enumerate(SIZES):
        picture = image(width, height, seed=index)
        said = token_texts(processor().tokenizer, answers_of(variant, [picture])[0])
        letters = sorted({text.strip() for text in said} - {""})
        words = [
            "".join(letters[k::3]) + "\u00e9" for k in range(3)
        ]  # a letter that no token has: never empty
        boxes = [
            (0, 0, width // 2, height),
            (width // 3, 0, width, height // 2),
            (0, height / 3, width, height),
        ]
        probe.append(ProbeImage(f"{index:03d}", picture, words, [tuple(map(float, b)) for b in boxes]))  # type: ignore[misc]
    return probe
