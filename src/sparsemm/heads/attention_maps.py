"""Where chosen heads look while the model reads an image (the heat maps of figure 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.heads.matching import match_tokens, token_texts
from sparsemm.heads.probe import ProbeImage, check_probe, png_bytes
from sparsemm.heads.recording import RowRecorder, generate_greedily, recording
from sparsemm.heads.scores import HeadScores
from sparsemm.models.loading import Loaded, build_inputs, shape

Head = tuple[int, int]


def choose_heads(scores: HeadScores, *, visual: int = 4, other: int = 4, seed: int = 0) -> list[Head]:
    """The ``visual`` best heads, best first, then ``other`` heads drawn from the lower half of the ranking.

    Raises:
        InputError: if the model has too few heads.
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
    prompt: str = READ_PROMPT,
    max_new_tokens: int = 1024,
    matching: str = "released",
) -> pd.DataFrame:
    """Rows of the result kind ``attention_maps``: a panel per image and head, images outermost.

    A panel's grid [rows, cols] is the attention on each token of the high-res grid (share of the whole row
    of attention, 0 to 1), averaged over the generated tokens that match a word of the image; ``token`` is
    those tokens joined, ``score`` the head's visual score (0 without ``scores``).

    Raises:
        InputError: a bad image; a head that the model does not have; no generated token matches a word.
    """
    items = [images] if isinstance(images, ProbeImage) else list(images)
    check_probe(items, "attention_maps")
    size = shape(loaded.model)
    wrong = [h for h in heads if not (0 <= h[0] < size.num_layers and 0 <= h[1] < size.num_heads)]
    if wrong or not heads:
        named = f"head {wrong[0]} is not one" if wrong else "no head is given"
        raise InputError(f"attention_maps: {named}; choose of {size.num_layers} x {size.num_heads} heads")
    rows: list[dict[str, Any]] = []
    for item in items:
        grids, token = _look(loaded, item, heads, prompt, max_new_tokens, matching)
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


def _look(
    loaded: Loaded,
    item: ProbeImage,
    heads: Sequence[Head],
    prompt: str,
    max_new_tokens: int,
    matching: str,
) -> tuple[list[npt.NDArray[np.float64]], str]:
    """The mean grid of each head, and the matched tokens joined."""
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, [item.image], [prompt], model.device)
    recorder = RowRecorder(heads)
    with recording(model, recorder):
        (answer,) = generate_greedily(model, processor.tokenizer, inputs, max_new_tokens)
    texts = token_texts(processor.tokenizer, answer)
    words = match_tokens(matching, processor.tokenizer, answer, item.words, item.boxes)
    steps = [i for i, word in enumerate(words) if word is not None]
    if not steps:
        raise InputError(f"attention_maps, image {item.id}: no generated token matches a word; take another")
    layout = make_layout(processor, (item.image.height, item.image.width))
    at = layout.positions(inputs["input_ids"][0].cpu(), shape(model).image_token_id)
    means = []
    for head in heads:
        recorded = recorder.rows(head)
        means.append(np.mean([recorded[step][at] for step in steps], axis=0, dtype=np.float64))
    return [layout.grid_values(mean) for mean in means], "".join(texts[step] for step in steps)
