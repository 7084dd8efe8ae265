"""What a compressed prefix must equal: the plain model's, dropped positions at -inf, the question appended."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

from sparsemm.families import family_of
from sparsemm.generation.prefill import capture_prefill
from sparsemm.models.loading import shape
from sparsemm.policies.base import ranker_of
from sparsemm.policies.selection import select

from helpers.oracle import dense_oracle

TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")


def prefix_length(model: Any, ids: torch.Tensor) -> int:
    """Tokens of one prompt, int64 [T], up to its last image token."""
    return int((ids == shape(model).image_token_id).nonzero()[-1]) + 1


def kept_of_prefix(
    model: Any, inputs: Any, policy: Any, instruction: torch.Tensor | None = None
) -> torch.Tensor:
    """What is kept of the prefix of one unpadded prompt, bool [L, 1, Hkv, P]; instruction: int64 [1, I]."""
    length = prefix_length(model, inputs["input_ids"][0])
    if instruction is not None:  # else what follows the prefix is in the pass too, and cut off before ranking
        inputs = dict(inputs)
        inputs["input_ids"] = torch.cat([inputs["input_ids"][:, :length], instruction], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"][:, :length]
            inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(instruction).to(kinds.dtype)], 1)
    kept: list[torch.Tensor] = []

    def keep(seen: Any) -> None:
        end = length if instruction is None else seen.key.shape[2]
        if policy.budget is None:
            kept.append(torch.ones(*seen.key.shape[:2], length, dtype=torch.bool))
            return
        sides = (side[:, :, :end] for side in (seen.query, seen.key, seen.value))
        ranker = ranker_of(policy)
        image = seen.images()[:, :end] if ranker.needs_image else None
        ranked = ranker.rank(*sides, scaling=seen.scaling, image=image)[..., : max(length - policy.window, 0)]
        amounts = policy.keep(ranked, layer=seen.index, num_layers=shape(model).num_layers)
        kept.append(select(ranked, amounts, window=policy.window, tokens=length))

    capture_prefill(model, inputs, keep)
    return torch.stack(kept)


@torch.no_grad()
def answer_after(model: Any, inputs: Any, kept: torch.Tensor, new: int) -> list[int]:
    """Greedy answer to one unpadded prompt whose prefix was prefilled before and sees only what is kept of it."""
    ids, length = inputs["input_ids"], kept.shape[-1]
    positions, following = family_of(model).prefill_positions(model, inputs)
    vision = {name: value for name, value in inputs.items() if name not in TEXT}
    if "mm_token_type_ids" in inputs:
        vision["mm_token_type_ids"] = inputs["mm_token_type_ids"][:, :length]
    cache = DynamicCache()
    given = {"past_key_values": cache, "use_cache": True}
    with dense_oracle(model, kept):
        model(input_ids=ids[:, :length], position_ids=positions[..., :length], **vision, **given)
        out = model(input_ids=ids[:, length:], position_ids=positions[..., length:], **given)
        answer = [int(out.logits[0, -1].argmax())]
        while len(answer) < new:
            at = family_of(model).decode_positions(following + len(answer) - 1)
            out = model(input_ids=torch.tensor([answer[-1:]]), position_ids=at, **given)
            answer.append(int(out.logits[0, -1].argmax()))
    return answer
