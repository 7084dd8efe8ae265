"""CIDEr-D of image captions (TextCaps)."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Sequence
from typing import Any

from sparsemm.errors import InputError
from sparsemm.metrics.answers import checked_answers, one_line


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """(corpus, per caption) CIDEr-D over PTB tokens (TextCaps), 0 to 10; document frequencies are the references'.

    Raises:
        InputError: for lists of unequal length, or where the package pycocoevalcap or Java (its tokenizer is a Java
            program) is missing.
    """
    if len(predictions) != len(references) or not predictions:
        raise InputError(
            f"cider: {len(predictions)} captions for {len(references)} references: give one set each"
        )
    try:
        tokenizer: Any = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
        scorer: Any = importlib.import_module("pycocoevalcap.cider.cider")
    except ImportError as error:
        raise InputError("cider: the package pycocoevalcap is missing: pip install pycocoevalcap") from error
    if shutil.which("java") is None:
        raise InputError("cider: Java is missing, its PTB tokenizer runs on it: install a Java runtime")
    words = tokenizer.PTBTokenizer()
    captions = {i: [{"caption": one_line(text)}] for i, text in enumerate(predictions)}
    targets = {
        i: [{"caption": one_line(text)} for text in checked_answers(texts)]
        for i, texts in enumerate(references)
    }
    corpus, each = scorer.Cider().compute_score(words.tokenize(targets), words.tokenize(captions))
    return float(corpus), [float(score) for score in each]
