"""What the engine holds of a layer between prefill and decode: K and V per sample, ranks, and how much a cell keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sparsemm.evaluation.engine.cache import Prompt
from sparsemm.evaluation.engine.rows import RowGroup
from sparsemm.generation.prefill import PrefillLayer
from sparsemm.generation.selector import image_of
from sparsemm.policies import LocalWindow, Policy
from sparsemm.policies.base import ranker_of
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.selection import rank_positions


@dataclass
class HeldLayer:
    """One layer of a prefilled batch."""

    keys: list[torch.Tensor]  # per sample [Hkv, D, T_b], pads cut off
    values: list[torch.Tensor]  # per sample [Hkv, T_b, D]
    ranks: dict[Ranker, torch.Tensor]  # int32 [B, Hkv, T - window]
    keep: torch.Tensor  # int64 [C, B, Hkv] beyond the window


def hold_layer(seen: PrefillLayer, policies: Sequence[Policy], num_layers: int) -> HeldLayer:
    """Rank one layer's tokens, once per ranker, and ask every policy how many it keeps.

    K and V are copied, each sample's without its pads.
    """
    batch, _, total, _ = seen.key.shape
    lengths = [total] * batch if seen.valid is None else seen.valid.sum(-1).tolist()
    ranked: dict[Ranker, torch.Tensor] = {}
    keep = []
    for policy in policies:
        ranker = ranker_of(policy)
        if not needs_ranks(policy):  # what it keeps does not depend on the values: no ranking
            values = _unranked(seen, policy.window)
        else:
            if ranker not in ranked:
                image = image_of(ranker, seen.images, seen.key)
                ranked[ranker] = ranker.rank(
                    seen.query, seen.key, seen.value, scaling=seen.scaling, valid=seen.valid, image=image
                )
            values = ranked[ranker]
        keep.append(policy.keep(values, layer=seen.index, num_layers=num_layers).to(seen.key.device))
    return HeldLayer(
        keys=[
            key[:, total - n :].transpose(1, 2).contiguous() for key, n in zip(seen.key, lengths, strict=True)
        ],
        values=[value[:, total - n :].contiguous() for value, n in zip(seen.value, lengths, strict=True)],
        ranks={ranker: rank_positions(values).int() for ranker, values in ranked.items()},
        keep=torch.stack(keep),
    )


def make_prompts(
    layer: HeldLayer, index: int, groups: Sequence[RowGroup], policies: Sequence[Policy]
) -> list[Prompt]:
    """Each group's part of its sample's K and V in layer ``index``, with the mask of its rows."""
    prompts: list[Prompt] = []
    start = 0
    for group in groups:
        key, value = layer.keys[group.sample], layer.values[group.sample]
        dropped = _dropped(layer, group, policies)
        prompts.append(Prompt.of(key, value, dropped, start, int(group.columns[index])))
        start += len(group.cells)
    return prompts


def _dropped(layer: HeldLayer, group: RowGroup, policies: Sequence[Policy]) -> torch.Tensor:
    """The prompt tokens that the group's rows evict: bool [Hkv, C', T_b]."""
    heads, _, length = layer.keys[group.sample].shape
    device = layer.keys[group.sample].device
    dropped = torch.zeros(heads, len(group.cells), length, dtype=torch.bool, device=device)
    rankers = [ranker_of(policies[cell]) for cell in group.cells]
    for ranker in set(rankers):
        past = max(length - ranker.window, 0)
        rows = [row for row, other in enumerate(rankers) if other == ranker]
        keep = layer.keep[[group.cells[row] for row in rows], group.sample].T[..., None]  # [Hkv, rows, 1]
        if ranker in layer.ranks:
            ranks = layer.ranks[ranker][group.sample]  # [Hkv, T - window], left padded
            dropped[:, rows, :past] = ranks[:, None, ranks.shape[-1] - past :] >= keep
        else:  # all or nothing beyond the window
            dropped[:, rows, :past] = keep < past
    return dropped


def needs_ranks(policy: Policy) -> bool:
    """Whether what a policy keeps depends on the order of the tokens."""
    return policy.budget is not None and not isinstance(policy, LocalWindow)


def _unranked(seen: PrefillLayer, window: int) -> torch.Tensor:
    """Zeros in place of a ranker's values, with its pads at -inf: float32 [B, Hkv, T - window]."""
    batch, heads, total, _ = seen.key.shape
    past = max(total - window, 0)
    values = seen.key.new_zeros((batch, heads, past), dtype=torch.float32)
    return values if seen.valid is None else values.masked_fill_(~seen.valid[:, None, :past], float("-inf"))
