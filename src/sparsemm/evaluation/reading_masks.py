"""Emergence: how much of given transcripts a model reads with copying, visual or random heads ablated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.evaluation.masking import masks_of
from sparsemm.heads.given_answers import right_of_images, right_of_text
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.text_reading import TextPage
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import shape

COLUMNS = ["image_id", "kind", "fraction", "seed", "right", "tokens"]


def reading_masks(
    model: PreTrainedModel,
    read: Callable[[], NDArray[np.int64]],
    pages: Sequence[TextPage],
    rankings: Mapping[str, HeadScores],
    *,
    fractions: Sequence[float],
    seeds: Sequence[int],
    how: str = "output",
) -> pd.DataFrame:
    """Read all pages once under every mask; one forward pass a page and mask.

    Args:
        model: what is masked.
        read: tokens that the model finds of each page, int64 [N]; see `reader_of`.
        pages: what is read.
        rankings: head scores by the kind of mask that their best heads make: "visual", "copying".
        fractions: shares of the model's query heads.
        seeds: of the random heads, one draw for each at every fraction.
        how: what is zeroed of a head; see `mask_heads`.

    Returns:
        Columns of results kind ``reading_masks``, a row a page and mask.

    Raises:
        InputError: for scores that do not fit the model, a bad fraction or an unknown `how`.
    """
    sizes = shape(model)
    for kind, scores in rankings.items():
        if scores.values.shape != (sizes.num_layers, sizes.num_heads):
            raise InputError(f"emergence: the {kind} heads are not this model's; score its heads again")
    masks = masks_of({kind: scores.values for kind, scores in rankings.items()}, fractions, seeds)
    rows: list[dict[str, Any]] = []
    for mask in tqdm(masks, unit="mask", desc="masked reading"):
        with mask_heads(model, mask.heads, how=how):
            right = read()
        about = {"kind": mask.kind, "fraction": mask.fraction, "seed": mask.seed}
        for page, count in zip(pages, right.tolist(), strict=True):
            rows.append({"image_id": page.id, **about, "right": count, "tokens": len(page.steps)})
    return pd.DataFrame(rows, columns=COLUMNS)


def reader_of(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    pages: Sequence[TextPage],
    *,
    prompt: str,
    images: bool,
    batch_size: int,
) -> Callable[[], NDArray[np.int64]]:
    """Reads the pages as images, or as text, each time that it is called."""
    if images:
        return lambda: right_of_images(model, processor, probe, pages, prompt)
    return lambda: right_of_text(model, pages, batch_size=batch_size)
