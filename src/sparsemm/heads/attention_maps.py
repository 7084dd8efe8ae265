"""Attention maps: where single heads attend while the model reads an image (paper, figure 10)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsemm.errors import InputError
from sparsemm.heads.matching import match_tokens, token_texts
from sparsemm.heads.patch_map import locate_image
from sparsemm.heads.probe import ProbeImage, check_probe, png_bytes
from sparsemm.heads.recording import RowRecorder, recorded_answers
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.settings import ScoringKeywords, ScoringSettings
from sparsemm.models.loading import Loaded, build_inputs, shape

_LOG = logging.getLogger(__name__)

Head = tuple[int, int]


def choose_heads(scores: HeadScores, *, visual: int = 4, other: int = 4, seed: int = 0) -> list[Head]:
    """The ``visual`` best heads, best first, then ``other`` heads drawn at random from the lower half of the ranking.

    Raises:
        InputError: the model has too few heads.
    """
    ranking = scores.ranking()
    rest = ranking[max(visual, len(ranking) // 2) :]
    if visual < 0 or other < 0 or visual > len(ranking) or other > len(rest):
        raise InputError(
            f"attention_maps: {visual} visual and {other} other heads asked of {len(ranking)}; ask for fewer"
        )
    drawn = np.random.default_rng(seed).choice(len(rest), size=other, replace=False)
    return ranking[:visual] + [rest[index] for index in drawn]


def attention_maps(
    loaded: Loaded,
    images: ProbeImage | Sequence[ProbeImage],
    heads: Sequence[Head],
    *,
    scores: HeadScores | None = None,
    settings: ScoringSettings | None = None,
    **keywords: Unpack[ScoringKeywords],
) -> pd.DataFrame:
    """Rows of the result kind ``attention_maps``: one panel per image and head, image by image.

    The grid [rows, cols] of a panel is the attention weight (0 to 1) on each token of the high-resolution view,
    averaged over the generated tokens that match a word of the image; with ``no_match="uniform"``, where none does,
    over all generated tokens. ``token`` holds those tokens joined, ``score`` the head's visual score.

    Args:
        heads: (layer, query head) each.
        scores: None leaves every score at 0.
        settings: prompt, max_new_tokens, matching, positions, generation and no_match are used.
        keywords: fields of `ScoringSettings`; they override ``settings``.

    Raises:
        InputError: a bad image; a head that the model does not have; with ``no_match="error"``: no generated token
            matches a word.
    """
    chosen = replace(settings or ScoringSettings(), **keywords)
    items = [images] if isinstance(images, ProbeImage) else list(images)
    check_probe(items, "attention_maps")
    size = shape(loaded.model)
    wrong = [h for h in heads if not (0 <= h[0] < size.num_layers and 0 <= h[1] < size.num_heads)]
    if wrong or not heads:
        named = f"head {wrong[0]} is not one" if wrong else "no head is given"
        raise InputError(f"attention_maps: {named}; choose of {size.num_layers} x {size.num_heads} heads")
    rows: list[dict[str, Any]] = []
    for item in items:
        grids, token = _mean_grids(loaded, item, heads, chosen)
        for (layer, head), grid in zip(heads, grids, strict=True):
            rows.append(
                {
                    "panel": len(rows),
                    "layer": layer,
                    "head": head,
                    "score": 0.0 if scores is None else float(scores.values[layer, head]),
                    "image": png_bytes(item.image),
                    "grid": grid.tolist(),
                    "token": token,
                }
            )
    return pd.DataFrame(rows).astype({"panel": "int32", "layer": "int32", "head": "int32"})


def _mean_grids(
    loaded: Loaded, item: ProbeImage, heads: Sequence[Head], settings: ScoringSettings
) -> tuple[list[npt.NDArray[np.float64]], str]:
    """The mean grid of each head, and the matched tokens joined."""
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, [item.image], [settings.prompt], model.device)
    recorder = RowRecorder(heads)
    (answer,) = recorded_answers(model, processor, inputs, recorder, settings)
    texts = token_texts(processor.tokenizer, answer)
    words = match_tokens(settings.matching, processor, answer, item.words, item.boxes)
    steps = [i for i, word in enumerate(words) if word is not None]
    if not steps and settings.no_match == "error":
        raise InputError(f"attention_maps, image {item.id}: no generated token matches a word; take another")
    if not steps:
        _LOG.warning("attention maps, image %s: no generated token matches a word; all are shown", item.id)
        steps = list(range(len(answer))) or [0]  # an empty answer: the row that gives its end token
    layout, at = locate_image(processor, item, inputs["input_ids"][0].cpu())
    means = []
    for head in heads:
        recorded = recorder.rows(head)
        means.append(np.mean([recorded[step][at] for step in steps], axis=0, dtype=np.float64))
    shown = "".join(texts[step] for step in steps if step < len(texts))
    return [layout.grid_values(mean) for mean in means], shown
