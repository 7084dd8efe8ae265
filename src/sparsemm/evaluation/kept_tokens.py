"""Which image tokens of one page each KV head keeps under every policy and budget, small enough for a web page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from sparsemm.evaluation.cells import Cell
from sparsemm.evaluation.engine.held import hold_layer, needs_ranks
from sparsemm.generation.prefill import PrefillLayer, capture_prefill
from sparsemm.heads.probe import ProbeImage, check_probe
from sparsemm.heads.view_cells import view_cells
from sparsemm.models.loading import Loaded, build_inputs, shape
from sparsemm.policies.base import ranker_of

_LAST = np.iinfo(np.uint16).max
_RANKS = ("image_id", "ranker", "layer", "ranks")
_KEEP = (
    *("image_id", "policy", "budget", "layer", "kv_head"),
    *("ranker", "keep", "kept_tokens", "image_tokens"),
)


class KeptTokens(NamedTuple):
    """The rows of two result kinds about one page.

    Attributes:
        ranks: rows of the kind `token_ranks`, one a ranker and layer.
        keep: rows of the kind `page_keep`, one a policy, budget, layer and KV head.
    """

    ranks: pd.DataFrame
    keep: pd.DataFrame


def kept_tokens(
    loaded: Loaded, item: ProbeImage, cells: Sequence[Cell], *, prompt: str, most: int
) -> KeptTokens:
    """What each cell of the run keeps of one page, by the same selection as in the evaluation.

    Policies that share a ranker keep the best tokens of the same order, each as many as it grants a head. So the order
    is stored once, and a number a head: that is less than a bit a token, policy and budget.

    Args:
        item: the page.
        cells: policies and budgets; those that rank nothing (the full cache, the window alone) are left out.
        prompt: what the model is asked about it.
        most: cells of the page at most; a cell of several tokens has the place of the best of them.

    Raises:
        InputError: a bad image.
    """
    check_probe([item], "kept_tokens")
    model, layers = loaded.model, shape(loaded.model).num_layers
    inputs = build_inputs(loaded.processor, [item.image], [prompt], model.device)
    view = view_cells(loaded.processor, item, inputs["input_ids"][0].cpu(), most)
    ranking = [cell for cell in cells if needs_ranks(cell.policy)]
    policies = [cell.policy for cell in ranking]
    names: dict[Any, str] = {}
    for policy in policies:
        ranker = ranker_of(policy)
        names.setdefault(ranker, _unused(ranker.name, names.values()))
    ranked: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []

    def take(seen: PrefillLayer) -> None:
        held = hold_layer(seen, policies, layers)
        places: dict[Any, npt.NDArray[np.int64]] = {}  # [Hkv, T]: from 1, 0 in the window
        for ranker, ranks in held.ranks.items():
            own = ranks[0].cpu().numpy().astype(np.int64) + 1
            places[ranker] = np.pad(own, ((0, 0), (0, seen.key.shape[2] - own.shape[1])))
            least = view.least(places[ranker][:, view.positions.ravel()])
            stored = np.minimum(least, _LAST).astype("<u2").tobytes()
            ranked.append(
                {"image_id": item.id, "ranker": names[ranker], "layer": seen.index, "ranks": stored}
            )
        for cell, keep in zip(ranking, held.keep[:, 0].cpu().numpy(), strict=True):
            ranker = ranker_of(cell.policy)
            stays = places[ranker] <= keep[:, None]  # [Hkv, T]
            for head, granted in enumerate(keep.tolist()):
                kept.append(
                    {
                        "image_id": item.id,
                        "policy": cell.label,
                        "budget": cell.budget,
                        "layer": seen.index,
                        "kv_head": head,
                        "ranker": names[ranker],
                        "keep": granted,
                        "kept_tokens": int(stays[head].sum()),
                        "image_tokens": int(stays[head, view.image].sum()),
                    }
                )

    if ranking:
        capture_prefill(model, inputs, take)
    return KeptTokens(pd.DataFrame(ranked, columns=list(_RANKS)), pd.DataFrame(kept, columns=list(_KEEP)))


def _unused(name: str, taken: Any) -> str:
    """The name, with a number where a ranker of other settings has it."""
    known = set(taken)
    return next(made for made in (name, *(f"{name} {i}" for i in range(2, 999))) if made not in known)
