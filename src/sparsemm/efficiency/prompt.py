"""The prompt of a profile: document images and filling text of an exact length."""

from __future__ import annotations

import random

import torch
from PIL import Image

from sparsemm.documents.pages import PAGE_SIZES, READ_PROMPT, generate_document
from sparsemm.errors import InputError
from sparsemm.models.loading import Loaded, build_inputs, shape

_PAGE = max(PAGE_SIZES)


def build_prompt(loaded: Loaded, tokens: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of exactly `tokens` tokens: as many document images as fit, then filling text and the question.

    Args:
        loaded: the model and its processor.
        tokens: length of the prompt.
        seed: of the pages.

    Returns:
        What `generate` takes, one row, on the host.

    Raises:
        InputError: when not even one image fits.
    """
    pages = _Pages(seed)
    one, two = (_length(loaded, pages.take(count)) for count in (1, 2))
    if tokens < one:
        raise InputError(
            f"efficiency.tokens: {tokens} is less than one image and its question take; use {one} or more"
        )
    images = pages.take(1 + (tokens - one) // (two - one))
    inputs = build_inputs(loaded, [images], [READ_PROMPT], device="cpu")
    ids = inputs["input_ids"]
    last = int((ids[0] == shape(loaded.model).image_token_id).nonzero().max())
    words = torch.tensor(loaded.processor.tokenizer(READ_PROMPT, add_special_tokens=False)["input_ids"])
    missing = tokens - ids.shape[1]
    filling = words.repeat(missing // len(words) + 1)[None, :missing]
    fillers = {"input_ids": filling, "attention_mask": torch.ones_like(filling)}
    for name, each in inputs.items():
        if each.shape == ids.shape:  # one entry a token, such as Qwen's mm_token_type_ids (0: text)
            filler = fillers.get(name, torch.zeros_like(filling)).to(each.dtype)
            inputs[name] = torch.cat([each[:, : last + 1], filler, each[:, last + 1 :]], 1)
    assert inputs["input_ids"].shape == (1, tokens)
    return inputs


def one_page(loaded: Loaded, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of one page and its question, on the host."""
    return build_inputs(loaded, [_Pages(seed).take(1)], [READ_PROMPT], device="cpu")


class _Pages:
    """Documents of one page size; `take` always returns the same first ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"efficiency-{seed}")
        self.drawn: list[Image.Image] = []

    def take(self, count: int) -> list[Image.Image]:
        while len(self.drawn) < count:
            image = generate_document(self.rng, split="eval", kind="page").image
            if image.size == _PAGE:
                self.drawn.append(image)
        return self.drawn[:count]


def _length(loaded: Loaded, images: list[Image.Image]) -> int:
    return int(build_inputs(loaded, [images], [READ_PROMPT], device="cpu")["input_ids"].shape[1])
