"""The recipes of a head score, side by side from one generation an image.

Four choices: how generated tokens are matched to words; which image tokens count (the grid: high resolution alone, or
the small image of the whole too); what a head does there (its attention peaks inside, or the mass of its attention that
lies inside); and how a token counts (one over the image tokens of its word, or one).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.modeling_utils import PreTrainedModel

from sparsemm.heads.matching import match_tokens
from sparsemm.heads.patch_map import map_image, token_mask
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.recording import recorded_answers
from sparsemm.heads.settings import ScoringSettings
from sparsemm.methods import CONVENTIONS, MATCHINGS
from sparsemm.models.loading import build_inputs, shape

MEASURES = ("argmax", "mass")
WEIGHTS = ("tokens", "plain")
COLUMNS = ["image_id", "matching", "grid", "measure", "weight", "layer", "head", "score"]


class BoxRecorder:
    """Keeps, for each step, where every query head peaks and the mass of its attention in each box.

    Args:
        num_layers: of the text model.
        boxes: bool [boxes, T], the prompt positions in each box.
    """

    def __init__(self, num_layers: int, boxes: torch.Tensor) -> None:
        self._boxes = boxes.T.float()
        self._steps: list[list[torch.Tensor]] = [[] for _ in range(num_layers)]

    def take(self, layer: int, logits: torch.Tensor) -> None:
        """logits [1, Hkv, G, T]."""
        rows = logits[0].flatten(0, 1).float()
        size = len(self._boxes)
        peaks = rows.argmax(dim=-1)
        inside = self._boxes[peaks.clamp(max=size - 1)] * (peaks < size)[:, None]
        self._steps[layer].append(torch.stack([inside, rows.softmax(dim=-1)[:, :size] @ self._boxes]))

    def measured(self) -> NDArray[np.float64]:
        """[measures, steps, L, Hq, boxes], in the order of MEASURES."""
        layers = [torch.stack(steps, dim=1) for steps in self._steps]
        return np.asarray(torch.stack(layers, dim=2).double().cpu().numpy())


def score_recipes(
    model: PreTrainedModel, processor: Any, probe: Sequence[ProbeImage], settings: ScoringSettings
) -> pd.DataFrame:
    """The score of every head on each image by every recipe, not brought to a sum.

    Args:
        model: a vision-language model.
        processor: its processor.
        probe: the images, read one at a time.
        settings: prompt, max_new_tokens, positions and generation are used.

    Returns:
        Columns COLUMNS, a row an image, recipe and head.
    """
    frames = []
    for item in tqdm(probe, unit="image", desc="recipes"):
        for names, values in _of_image(model, processor, item, settings):
            layer, head = (index.ravel() for index in np.indices(values.shape))
            about = dict(zip(COLUMNS[1:5], names))
            frames.append(
                pd.DataFrame(
                    {"image_id": item.id, **about, "layer": layer, "head": head, "score": values.ravel()}
                )
            )
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def _of_image(
    model: PreTrainedModel, processor: Any, item: ProbeImage, settings: ScoringSettings
) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64]]]:
    """The recipe's names, in the order of the columns, and its scores [L, Hq]."""
    inputs = build_inputs(processor, [item.image], [settings.prompt], model.device)
    ids = inputs["input_ids"][0].cpu()
    masks, sizes = zip(
        *(token_mask(map_image(processor, item, ids, grid), len(ids), 0) for grid in CONVENTIONS)
    )
    size = shape(model)
    recorder = BoxRecorder(size.num_layers, torch.from_numpy(np.concatenate(masks)).to(model.device))
    (answer,) = recorded_answers(model, processor, inputs, recorder, settings)
    measured = recorder.measured()
    for matching in MATCHINGS:
        matches = match_tokens(matching, processor, answer, item.words, item.boxes)
        pairs = [(step, word) for step, word in enumerate(matches) if word is not None]
        for number, grid in enumerate(CONVENTIONS):
            for measure, found in zip(MEASURES, measured):
                tables = {weight: np.zeros((size.num_layers, size.num_heads)) for weight in WEIGHTS}
                for step, word in pairs:
                    inside = found[step, :, :, number * len(item.words) + word]
                    tables["plain"] += inside
                    tables["tokens"] += inside / max(int(sizes[number][word]), 1)
                yield from (((matching, grid, measure, weight), values) for weight, values in tables.items())
