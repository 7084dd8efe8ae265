"""Which visual tokens of a model change when a box of pixels changes: the truth that layouts are tested against.

Attention in the vision tower would spread the change over all tokens (Qwen2.5-VL's over a window), so its output
projection is zeroed. A token then depends on its own patches only, through embedding, MLPs and merger, which are the
model's own. The image is resampled by nearest neighbour, so that no pixel leaks into the next one. What is left is the
order of patches, tiling, merging, cropping and shrinking, which is what a layout describes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from sparsemm.families.images import preparation_of

from helpers.tiny_families import tiny_family

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
LLAVA_NEXT_PINPOINTS = [
    [32, 64],
    [64, 32],
    [64, 64],
    [96, 32],
    [32, 96],
]  # the shapes of the real model's list
SIZES = [(64, 64), (60, 40), (40, 60), (17, 90), (90, 17), (129, 127), (128, 128), (200, 140), (9, 33)]
Box = tuple[int, int, int, int]
_ATTENTION_OUTPUTS = ("attn.proj", "self_attn.out_proj", "attention.projection_layer")
_INPUTS = ("pixel_values", "image_sizes", "image_grid_thw", "batch_num_images")


@dataclass(frozen=True)
class Local:
    """A tiny model in which a visual token depends on its own pixels only, and its processor.

    Attributes:
        name: The model's name in helpers.tiny_families.
        dark: Features of uniform images by (height, width), computed once.
    """

    name: str
    model: Any
    processor: Any
    dark: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def prompt(self, pixels: np.ndarray) -> Any:
        """Model inputs of a prompt that is one image, pixels uint8 [H, W, 3]."""
        token = {"internvl": "<IMG_CONTEXT>"}.get(
            self.name, "<|image_pad|>" if self.name in QWEN else "<image>"
        )
        image, preparation = Image.fromarray(pixels), preparation_of(self.processor)
        given = image if preparation is None else preparation.apply(image)
        return self.processor(images=[[given]], text=[token], return_tensors="pt")

    @torch.no_grad()
    def features(self, pixels: np.ndarray) -> torch.Tensor:
        """Visual tokens [N, C] of one image uint8 [H, W, 3], in the order of the prompt."""
        inputs = self.prompt(pixels)
        given = {key: inputs[key] for key in _INPUTS if key in inputs}
        if self.name == "internvl":
            given |= {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
        out = self.model.model.get_image_features(**given, return_dict=True).pooler_output
        tokens = torch.cat(list(out)) if isinstance(out, (list, tuple)) else out
        return tokens.reshape(-1, tokens.shape[-1])

    def changed(self, height: int, width: int, box: Box) -> set[int]:
        """Tokens that change when the pixels of the box (x0, y0, x1, y1) become bright."""
        pixels = np.full((height, width, 3), 40, dtype=np.uint8)
        if (height, width) not in self.dark:
            self.dark[height, width] = self.features(pixels)
        x0, y0, x1, y1 = box
        pixels[y0:y1, x0:x1] = 220
        difference = (self.dark[height, width] - self.features(pixels)).abs().amax(-1)
        return set(torch.nonzero(difference > 1e-5).flatten().tolist())


@cache
def local(name: str) -> Local:
    """The tiny family's model and processor, copied and made local; LLaVA-NeXT with more shapes of its grid."""
    model, processor = copy.deepcopy(tiny_family(name))
    silenced = 0
    with torch.no_grad():
        for key, module in model.named_modules():
            if "language_model" not in key and key.endswith(_ATTENTION_OUTPUTS):
                module.weight.zero_()
                module.bias.zero_()
                silenced += 1
        if name == "internvl":
            for key, parameter in model.named_parameters():
                if "lambda_2" in key or "multi_modal_projector.linear" in key:
                    parameter.mul_(4)  # signal far above float noise
    assert silenced >= 2
    processor.image_processor.resample = Image.Resampling.NEAREST
    if name.startswith("llava_next"):
        model.config.image_grid_pinpoints = model.model.config.image_grid_pinpoints = LLAVA_NEXT_PINPOINTS
        processor.image_processor.image_grid_pinpoints = LLAVA_NEXT_PINPOINTS
    return Local(name, model, processor)


def boxes(height: int, width: int, count: int) -> list[Box]:
    """The whole image, its first and its last pixel, and `count` seeded random boxes."""
    rng = np.random.default_rng(height * 1009 + width)
    made = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, width, height)]
    for _ in range(count):
        (x0, x1), (y0, y1) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (width, height))
        made.append((int(x0), int(y0), int(x1), int(y1)))
    return made


def assert_lit(local: Local, layout: Any, height: int, width: int, box: Box, cell: int) -> None:
    """The layout's tokens of a box are those that change, exact to the sampling of the resize.

    A token of the box may stay as it is only where no pixel of the box is sampled: what the token sees of the box is
    then thinner than one resized pixel, of which a cell has at least `cell` a side.
    """
    lit, claimed = local.changed(height, width, box), set(layout.tokens(box, "all"))
    assert lit <= claimed
    for token in claimed - lit:
        x0, y0, x1, y1 = layout.pixels(token)
        overlap_x = min(x1, box[2]) - max(x0, box[0])
        overlap_y = min(y1, box[3]) - max(y0, box[1])
        assert overlap_x < (x1 - x0) / cell or overlap_y < (y1 - y0) / cell
