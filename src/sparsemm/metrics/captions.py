"""CIDEr-D of image captions (TextCaps). The scorer and its tokenizer, a Java program, are the extra `captions`."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from sparsemm.errors import InputError
from sparsemm.metrics.answers import checked_answers


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """(corpus, per caption) CIDEr-D over PTB tokens (TextCaps), 0 to 10; document frequencies are the references'.

    Raises:
        InputError: for lists of unequal length, or where the package pycocoevalcap or Java is missing or does not run.
    """
    if len(predictions) != len(references) or not predictions:
        raise InputError(
            f"cider: {len(predictions)} captions for {len(references)} references: give one set each"
        )
    targets = {i: list(checked_answers(texts)) for i, texts in enumerate(references)}
    lacking = cider_lacks()
    if lacking is not None:
        raise InputError(f"cider: {lacking}")
    scorer: Any = importlib.import_module("pycocoevalcap.cider.cider")
    captions = {i: [text] for i, text in enumerate(predictions)}
    corpus, each = scorer.Cider().compute_score(_tokens(targets), _tokens(captions))
    return float(corpus), [float(score) for score in each]


def cider_lacks() -> str | None:
    """What keeps CIDEr from being computed here, with its cure; None where nothing does."""
    try:
        importlib.import_module("pycocoevalcap.cider.cider")
        importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    except ImportError:
        return "the package pycocoevalcap is missing: pip install pycocoevalcap (the extra `captions`)"
    if shutil.which("java") is None:
        return "Java is missing, its PTB tokenizer runs on it: install a Java runtime"
    return None


def _tokens(texts: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
    """PTB tokens without punctuation, joined by spaces."""
    tokenizer: Any = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    # The tokenizer is given a line a text and reads as many back: no text may hold a line break of any kind.
    lines = {key: [{"caption": " ".join(text.splitlines())} for text in each] for key, each in texts.items()}
    try:
        tokens: dict[int, list[str]] = tokenizer.PTBTokenizer().tokenize(lines)
    except OSError as error:
        raise InputError(
            f"cider: the PTB tokenizer does not run ({error}): check Java and the disk"
        ) from error
    if any(len(tokens.get(key, ())) != len(each) for key, each in texts.items()):
        raise InputError("cider: the PTB tokenizer gave no tokens: check that `java -version` works")
    return tokens
