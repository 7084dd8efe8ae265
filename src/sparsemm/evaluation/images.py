"""The images of a batch as model inputs, each distinct one prepared and encoded once.

Most benchmarks ask several questions about an image. Batches have them side by side (`batches`), so it is enough to
remember the images of the newest batch. An image is encoded by itself: its features do not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from sparsemm.benchmarks import Sample, UnreadableImage
from sparsemm.models import Loaded, build_inputs
from sparsemm.models.loading import render

# Families whose forward takes encoded images as one tensor of features each. Others get pixels for every question.
_FAMILIES = ("llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl")
_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")


def split_unreadable(samples: Sequence[Sample]) -> tuple[list[Sample], list[Image], list[str]]:
    """Decode the samples' images.

    Returns:
        The samples whose image can be decoded, their images, and the ids of the others.
    """
    readable, images, unreadable = [], [], []
    for sample in samples:
        try:
            images.append(sample.image.open())
        except UnreadableImage:
            unreadable.append(sample.id)
        else:
            readable.append(sample)
    return readable, images, unreadable


@dataclass(frozen=True)
class _Encoded:
    """One image: its features [N, D] and what the model reads beside them, such as the size, [1, ...] each."""

    features: torch.Tensor
    beside: dict[str, torch.Tensor]


class ImageMemory:
    """Builds the inputs of batches and remembers the encoded images of the newest one."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._known: dict[str, _Encoded] = {}
        self._broken: set[str] = set()

    def encode(self, samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
        """Decode and encode the images that are not remembered, one at a time, and forget all others.

        Returns:
            The samples whose image can be decoded, and the ids of the others.
        """
        wanted = {sample.image_id: sample for sample in samples}
        self._known = {name: image for name, image in self._known.items() if name in wanted}
        for name, sample in wanted.items():
            if name not in self._known and name not in self._broken:
                try:
                    self._known[name] = self._encode(sample.image.open())
                except UnreadableImage:
                    self._broken.add(name)
        readable = [sample for sample in samples if sample.image_id in self._known]
        return readable, [sample.id for sample in samples if sample.image_id not in self._known]

    def inputs(self, samples: Sequence[Sample], prompts: Sequence[str]) -> dict[str, Any]:
        """What `build_inputs` gives for these samples, with encoded images in place of pixels.

        Args:
            samples: those that `encode` found readable.
            prompts: one a sample.
        """
        processor = self._loaded.processor
        images = [self._known[sample.image_id] for sample in samples]
        texts = [
            render(processor, prompt).replace(
                processor.image_token, processor.image_token * len(image.features), 1
            )
            for prompt, image in zip(prompts, images, strict=True)
        ]
        encoded = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
        inputs: dict[str, Any] = {name: encoded[name] for name in _TEXT if name in encoded}
        if processor.return_mm_token_type_ids:
            kinds = processor.create_mm_token_type_ids(inputs["input_ids"].tolist())
            inputs["mm_token_type_ids"] = torch.tensor(kinds)
        inputs = {name: tensor.to(self._loaded.model.device) for name, tensor in inputs.items()}
        for name in images[0].beside:
            inputs[name] = torch.cat([image.beside[name] for image in images])
        pooled: Any = [image.features for image in images]
        inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=pooled)}
        return inputs

    @torch.no_grad()
    def _encode(self, image: Image) -> _Encoded:
        model: Any = self._loaded.model
        inputs = build_inputs(self._loaded, [image], [""], model.device)
        inputs = {name: tensor for name, tensor in inputs.items() if name not in _TEXT}
        (features,) = model.get_image_features(**inputs, return_dict=True).pooler_output
        return _Encoded(features, {name: inputs[name] for name in inputs if name != "pixel_values"})


def image_memory(loaded: Loaded, samples: Sequence[Sample], *, again: bool = False) -> ImageMemory | None:
    """A memory where it saves work and the family has one: images repeat, or all samples are asked `again`."""
    repeats = len({sample.image_id for sample in samples}) < len(samples)
    return ImageMemory(loaded) if (repeats or again) and loaded.family in _FAMILIES else None
