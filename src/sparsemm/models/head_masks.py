"""Ablation of query heads, under any attention implementation.

Two ways: a head's output is zeroed before the output projection (``output``), or its queries are zeroed after the query
projection (``released``, the authors' code). A head without queries attends to all that it sees alike, so that its
output is the mean of the values there. Norms and rotations that follow the projection leave zeros zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.methods import MASKINGS
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers


class HeadMask:
    """The query heads that are ablated in each row of a batch.

    Attributes:
        mask: bool [B, L, Hq], or [1, L, Hq] for every row; True: the head is ablated.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep only these rows (int64 indexes), as a batch does when finished rows leave it."""
        if self.mask.shape[0] > 1:
            self.mask = self.mask[rows.to(self.mask.device)]

    def zeroed(self, layer: int, hidden: torch.Tensor) -> torch.Tensor:
        """A layer's [B, q, Hq * D], head after head, with 0 in the ablated heads."""
        rows = self.mask[:, layer].to(hidden.device)
        if rows.shape[0] not in (1, hidden.shape[0]):
            raise InputError(f"head masks of {rows.shape[0]} rows meet a batch of {hidden.shape[0]}")
        heads = hidden.view(*hidden.shape[:-1], rows.shape[1], -1)
        return heads.masked_fill(rows[:, None, :, None], 0.0).flatten(-2)

    def attach(self, attention: Any, layer: int, how: str) -> RemovableHandle:
        """Ablate the layer's heads in its attention module until the handle is removed."""
        handle: RemovableHandle
        if how == "released":
            handle = attention.q_proj.register_forward_hook(self._after_projection(layer))
        else:
            handle = attention.o_proj.register_forward_pre_hook(self._before_projection(layer))
        return handle

    def _before_projection(self, layer: int) -> Callable[..., Any]:
        def zero(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return self.zeroed(layer, args[0]), *args[1:]

        return zero

    def _after_projection(self, layer: int) -> Callable[..., Any]:
        def zero(module: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            return self.zeroed(layer, out)

        return zero


@contextmanager
def mask_rows(model: PreTrainedModel, mask: torch.Tensor, *, how: str = "output") -> Iterator[HeadMask]:
    """Ablate query heads of each row of a batch inside the context.

    Args:
        model: a vision-language model.
        mask: bool [B, L, Hq], or [1, L, Hq] for every row; True: the head is ablated.
        how: what is zeroed, the head's ``output``, or its queries (``released``).

    Yields:
        The mask, which can drop rows with the batch.

    Raises:
        InputError: for a mask of another shape or dtype, or an unknown `how`.
    """
    sizes = shape(model)
    if how not in MASKINGS:
        raise InputError(f"masking.how: {how!r} is unknown; use {' or '.join(MASKINGS)}")
    if mask.dtype != torch.bool or mask.shape[1:] != (sizes.num_layers, sizes.num_heads):
        raise InputError(
            f"head mask {tuple(mask.shape)} of {mask.dtype} does not fit; give bool "
            f"[rows, {sizes.num_layers}, {sizes.num_heads}]"
        )
    state = HeadMask(mask)
    handles = []
    try:
        for index, layer in enumerate(text_layers(model)):
            if bool(mask[:, index].any()):
                handles.append(state.attach(layer.self_attn, index, how))
        yield state
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mask_heads(
    model: PreTrainedModel, heads: Sequence[tuple[int, int]], *, how: str = "output"
) -> Iterator[None]:
    """Ablate query heads inside the context, under any attention implementation.

    Args:
        model: a vision-language model.
        heads: (layer, query head) pairs.
        how: what is zeroed: the heads' ``output``, or their queries (``released``, as in the authors' code), so that a
            masked head averages the values that it sees.

    Raises:
        InputError: for a pair that the model does not have, or an unknown `how`.
    """
    sizes = shape(model)
    mask = torch.zeros(1, sizes.num_layers, sizes.num_heads, dtype=torch.bool)
    for pair in heads:
        try:
            layer, head = (int(number) for number in pair)
        except (TypeError, ValueError) as error:
            raise InputError(f"head {pair!r} is not a (layer, head) pair of numbers") from error
        if not (0 <= layer < sizes.num_layers and 0 <= head < sizes.num_heads):
            raise InputError(
                f"head ({layer}, {head}) does not exist; the model has layers 0 to {sizes.num_layers - 1} "
                f"and query heads 0 to {sizes.num_heads - 1}"
            )
        mask[0, layer, head] = True
    with mask_rows(model, mask, how=how):
        yield
