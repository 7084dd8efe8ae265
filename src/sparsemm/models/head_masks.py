"""Ablation of query heads: outputs are zeroed before the output projection, under any attention implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers


class HeadMask:
    """The query heads that are ablated in each row of a batch.

    Attributes:
        mask: bool [B, L, Hq], or [1, L, Hq] for every row; True: the head's output is zeroed.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Keep only these rows (int64 indexes), as a batch does when finished rows leave it."""
        if self.mask.shape[0] > 1:
            self.mask = self.mask[rows.to(self.mask.device)]

    def hook(self, layer: int) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A forward pre-hook that ablates the layer's heads, for its output projection."""

        def zero(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = args[0]  # [B, q, Hq * D], head after head
            rows = self.mask[:, layer].to(hidden.device)
            if rows.shape[0] not in (1, hidden.shape[0]):
                raise InputError(f"head masks of {rows.shape[0]} rows meet a batch of {hidden.shape[0]}")
            heads = hidden.view(*hidden.shape[:-1], rows.shape[1], -1)
            return (heads.masked_fill(rows[:, None, :, None], 0.0).flatten(-2), *args[1:])

        return zero


@contextmanager
def mask_rows(model: PreTrainedModel, mask: torch.Tensor) -> Iterator[HeadMask]:
    """Ablate query heads of each row of a batch inside the context.

    Args:
        model: a vision-language model.
        mask: bool [B, L, Hq], or [1, L, Hq] for every row; True: the head's output is zeroed.

    Yields:
        The mask, which can drop rows with the batch.

    Raises:
        InputError: for a mask of another shape or dtype.
    """
    sizes = shape(model)
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
                attention: Any = layer.self_attn
                handles.append(attention.o_proj.register_forward_pre_hook(state.hook(index)))
        yield state
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mask_heads(model: PreTrainedModel, heads: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Ablate query heads inside the context, under any attention implementation.

    Args:
        model: a vision-language model.
        heads: (layer, query head) pairs.

    Raises:
        InputError: for a pair that the model does not have.
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
    with mask_rows(model, mask):
        yield
