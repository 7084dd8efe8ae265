"""The prompts of a batch cut after their last image token, and the parts that follow: token arithmetic alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparsemm.errors import InputError

_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids", "position_ids")
_GRIDS = ("image_grid_thw",)


@dataclass(frozen=True)
class PrefixInputs:
    """Every row's tokens up to its last image token.

    Attributes:
        ids: int64 [B, P], left padded.
        mask: int64 [B, P], 0 at pads.
        kinds: the `mm_token_type_ids` [B, P]; None for models without them.
        vision: pixels or encoded images, and what the model reads beside them.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    kinds: torch.Tensor | None
    vision: dict[str, Any]

    @classmethod
    def of(cls, inputs: Mapping[str, Any], image_token: int) -> PrefixInputs:
        """Cut a left-padded batch.

        Raises:
            InputError: without input_ids, or for a row without an image.
        """
        if inputs.get("input_ids") is None:
            raise InputError("compress_prefix: inputs have no input_ids; give all that the processor returns")
        ids = inputs["input_ids"]
        mask = _mask(ids, inputs.get("attention_mask"))
        lasts = []
        for row, images in enumerate(ids == image_token):
            places = images.nonzero()
            if not len(places):
                raise InputError(f"compress_prefix: row {row} has no image; compress prompts with one")
            lasts.append(int(places[-1]) + 1)
        real = [each[:last].bool() for each, last in zip(mask, lasts)]
        parts = [each[:last][own] for each, last, own in zip(ids, lasts, real)]
        # Pads must not be image tokens, which the model counts, nor words that a repetition penalty does not see alone.
        text = [part[part != image_token] for part in parts]
        cut, cut_mask = left_padded(parts, [int(own[0]) if len(own) else 0 for own in text])
        kinds = inputs.get("mm_token_type_ids")
        if kinds is not None:
            kinds = [each[:last][own] for each, last, own in zip(kinds, lasts, real)]
            kinds, _ = left_padded(kinds, [0] * len(kinds))
        vision = {name: value for name, value in inputs.items() if name not in _TEXT}
        return cls(cut, cut_mask, kinds, vision)

    def followed_by(self, after: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Inputs of the prefix with text behind it, and the image grids that positions are computed from.

        Args:
            after: int64 [R, S]; R rows for a prefix of R rows, any number for one row.
            mask: int64 [R, S], 0 at pads.
        """
        rows, own = len(after), len(self.ids)
        times = 1 if rows == own else rows
        whole = {
            "input_ids": torch.cat([self.ids.expand(rows, -1), after], 1),
            "attention_mask": torch.cat([self.mask.expand(rows, -1), mask], 1),
        }
        if self.kinds is not None:
            kinds = self.kinds.expand(rows, -1)
            whole["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(after).to(kinds.dtype)], 1)
        for name in _GRIDS:
            if name in self.vision:
                whole[name] = self.vision[name].repeat(times, 1)
        return whole


def parts_after(
    prefix: PrefixInputs, ids: torch.Tensor, mask: torch.Tensor | None, image_token: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What follows the prefix in whole prompts, left padded: int64 [R, S], and its mask.

    Args:
        prefix: of R rows, or of one for all prompts.
        ids: int64 [R, T].
        mask: int64 [R, T], or None without padding.
        image_token: its id.

    Raises:
        InputError: for prompts that do not begin with the prefix, end with it, or have images after it.
    """
    rows, own = len(ids), len(prefix.ids)
    if own not in (1, rows):
        raise InputError(f"prefix.generate: {rows} prompts for a prefix of {own} rows; give one a row")
    parts = []
    for row, (each, real) in enumerate(zip(ids, _mask(ids, mask))):
        at = row if own > 1 else 0
        head, tokens = prefix.ids[at][prefix.mask[at].bool()], each[real.bool()]
        if not torch.equal(tokens[: len(head)], head):
            raise InputError(
                f"prefix.generate: prompt {row} does not begin with the prefix; give the whole prompt, with its image "
                "first, in the same chat format"
            )
        part = tokens[len(head) :]
        if not len(part):
            raise InputError(
                f"prefix.generate: prompt {row} ends with the prefix; put the question after the image"
            )
        if bool((part == image_token).any()):
            raise InputError(
                f"prefix.generate: prompt {row} has images after the prefix; compress them with it"
            )
        parts.append(part)
    return left_padded(parts, [int(part[0]) for part in parts])


def left_padded(rows: Sequence[torch.Tensor], pads: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of unequal length as one left-padded tensor [R, S], each with its own pad, and an int64 mask."""
    longest = max(len(row) for row in rows)
    padded = torch.stack(
        [torch.cat([row.new_full((longest - len(row),), pad), row]) for row, pad in zip(rows, pads)]
    )
    lengths = torch.tensor([len(row) for row in rows], device=padded.device)
    places = torch.arange(longest, device=padded.device)
    return padded, (places >= longest - lengths[:, None]).long()


def _mask(ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return torch.ones_like(ids) if mask is None else mask
