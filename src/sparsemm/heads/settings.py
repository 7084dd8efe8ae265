"""Settings of scoring and of attention maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.methods import CONVENTIONS, GENERATIONS, MATCHINGS, NO_MATCH, POSITIONS

_WORDS = {
    "convention": CONVENTIONS,
    "matching": MATCHINGS,
    "positions": POSITIONS,
    "generation": GENERATIONS,
    "no_match": NO_MATCH,
}


class ScoringKeywords(TypedDict, total=False):
    """The fields of `ScoringSettings` as keyword arguments."""

    prompt: str
    max_new_tokens: int
    batch_size: int
    convention: str
    matching: str
    positions: str
    generation: str
    no_match: str
    workdir: str | Path | None
    progress: bool
    seed: int
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True)
class ScoringSettings:
    """How a model is asked to read the probe images, and what counts as a hit.

    Attributes:
        prompt: what the model is asked.
        max_new_tokens: longest answer.
        batch_size: images per batch.
        convention: image tokens that can be hit: ``released`` (the high-resolution view only) or ``all``.
        matching: rule that matches generated tokens to words: ``stripped``, ``released`` (the authors' code to the
            letter) or ``exact``; see `heads.matching`.
        positions: of families with M-RoPE (Qwen), at prefill and decode: ``mrope``, the model's own, or ``released``,
            plain positions on all axes, as in the authors' scorer. Other families have plain positions in any case.
        generation: ``model``, greedy decoding with what else the checkpoint's generation_config asks for
            (repetition_penalty), or ``plain``, greedy decoding alone, as in the authors' scorer.
        no_match: where no generated token matches a word, or no head ever hits: ``error``, or ``uniform``, the same
            score for every head, said in the log and in the scores' metadata.
        workdir: folder of finished batches, from which an interrupted run resumes; None stores nothing.
        progress: show a bar on stderr.
        seed: of the bootstrap; generation is greedy.
        metadata: recorded with the scores; overrides what is recorded anyway.

    Raises:
        InputError: a number below 1, an unknown word for one of the rules.
    """

    prompt: str = READ_PROMPT
    max_new_tokens: int = 1024
    batch_size: int = 8
    convention: str = "released"
    matching: str = "stripped"
    positions: str = "mrope"
    generation: str = "model"
    no_match: str = "error"
    workdir: str | Path | None = None
    progress: bool = True
    seed: int = 0
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"scoring.{name}: {getattr(self, name)} is below 1; give at least 1")
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"scoring.{name}: {getattr(self, name)!r} is unknown; use {' or '.join(known)}"
                )

    def rules(self) -> dict[str, Any]:
        """What the scores depend on; the batch size only changes the padding."""
        return {
            "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
            "convention": self.convention,
            "matching": self.matching,
            "positions": self.positions,
            "generation": self.generation,
        }
