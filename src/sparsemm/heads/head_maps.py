"""Where every head looks while the model reads one page, token by token of its answer, small enough for a web page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from sparsemm.errors import InputError
from sparsemm.heads.matching import match_tokens, token_texts
from sparsemm.heads.patch_map import map_image
from sparsemm.heads.probe import ProbeImage, check_probe, png_bytes
from sparsemm.heads.recording import recorded_answers
from sparsemm.heads.settings import ScoringKeywords, ScoringSettings
from sparsemm.heads.view_cells import ViewCells, view_cells
from sparsemm.models.loading import Loaded, build_inputs

_PEAK = 255  # the weight of a head's brightest cell, as it is stored


class HeadMaps(NamedTuple):
    """The rows of two result kinds about one page.

    Attributes:
        page: one row of the kind `head_pages`.
        maps: rows of the kind `head_maps`, one a generated token and layer.
    """

    page: pd.DataFrame
    maps: pd.DataFrame


class CellRecorder:
    """Keeps, of each row of attention, what falls on the cells of one image; sample 0 of the batch only."""

    def __init__(self, cells: ViewCells, steps: int) -> None:
        self._cells, self._most = cells, steps
        self._view = torch.as_tensor(cells.positions.ravel())
        self._image = torch.as_tensor(cells.image)
        self.weights: dict[int, list[npt.NDArray[np.float32]]] = {}
        self.shares: dict[int, list[npt.NDArray[np.float32]]] = {}
        self.peaks: dict[int, list[npt.NDArray[np.int64]]] = {}

    def take(self, layer: int, logits: torch.Tensor) -> None:
        kept = self.weights.setdefault(layer, [])
        if len(kept) == self._most:
            return
        rows = logits[0].flatten(0, 1).float()  # [Hq, T]
        weights = rows.softmax(dim=-1)
        kept.append(self._cells.sums(weights[:, self._view.to(rows.device)].cpu().numpy()))
        self.shares.setdefault(layer, []).append(
            weights[:, self._image.to(rows.device)].sum(dim=-1).cpu().numpy()
        )
        self.peaks.setdefault(layer, []).append(rows.argmax(dim=-1).cpu().numpy())


def head_maps(
    loaded: Loaded,
    item: ProbeImage,
    *,
    tokens: int,
    cells: int,
    settings: ScoringSettings | None = None,
    **keywords: Unpack[ScoringKeywords],
) -> HeadMaps:
    """The attention of all heads over one page, for the first generated tokens.

    A token's map is the attention weight on each cell of the page, a byte a cell, relative to the head's largest cell
    for that token (``peaks``). ``hits`` tells what the visual score counts: whether the position of the head's largest
    weight, over the whole prompt, is an image token of the token's word. ``shares`` is the weight on all image tokens.

    Args:
        tokens: generated tokens that are recorded, the first ones.
        cells: of the page at most; image tokens of the finest view are added up in blocks until they fit.
        settings: prompt, max_new_tokens, matching, convention, positions and generation are used.
        keywords: fields of `ScoringSettings`; they override ``settings``.

    Raises:
        InputError: a bad image, or less than one token or cell.
    """
    chosen = replace(settings or ScoringSettings(), **keywords)
    check_probe([item], "head_maps")
    if tokens < 1 or cells < 1:
        raise InputError(f"head_maps: {tokens} tokens and {cells} cells asked for; give at least 1 of each")
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, [item.image], [chosen.prompt], model.device)
    ids = inputs["input_ids"][0].cpu()
    view = view_cells(processor, item, ids, cells)
    recorder = CellRecorder(view, tokens)
    (answer,) = recorded_answers(model, processor, inputs, recorder, chosen)
    words = match_tokens(chosen.matching, processor, answer, item.words, item.boxes)
    patches = map_image(processor, item, ids, chosen.convention)
    covered = [set(word.prompt_positions.tolist()) for word in patches]
    texts = token_texts(processor.tokenizer, answer)
    rows: list[dict[str, Any]] = []
    for step in range(min(tokens, len(answer))):
        word = words[step]
        for layer in sorted(recorder.weights):
            weights = recorder.weights[layer][step]  # [Hq, rows, cols]
            largest = weights.max(axis=(1, 2))
            scale = _PEAK / np.maximum(largest, np.finfo(np.float32).tiny)
            places = recorder.peaks[layer][step].tolist()
            rows.append(
                {
                    "image_id": item.id,
                    "step": step,
                    "layer": layer,
                    "token": texts[step],
                    "word": -1 if word is None else word,
                    "peaks": largest.tolist(),
                    "shares": recorder.shares[layer][step].tolist(),
                    "hits": [int(word is not None and place in covered[word]) for place in places],
                    "weights": np.rint(weights * scale[:, None, None]).astype(np.uint8).tobytes(),
                }
            )
    page = {
        "image_id": item.id,
        "image": png_bytes(item.image),
        "words": list(item.words),
        "boxes": [list(box) for box in item.boxes],
        "row_edges": view.row_edges.tolist(),
        "col_edges": view.col_edges.tolist(),
        "block": view.block,
        "answer": str(processor.tokenizer.decode(answer, skip_special_tokens=True)),
        "prompt_tokens": len(ids),
        "image_tokens": len(view.image),
    }
    columns = ("image_id", "step", "layer", "token", "word", "peaks", "shares", "hits", "weights")
    return HeadMaps(pd.DataFrame([page]), pd.DataFrame(rows, columns=list(columns)))
