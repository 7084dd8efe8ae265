"""Configurations and processors of the two models: LLaVA-NeXT's and Qwen2-VL's classes around one text model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from sparsemm.documents.pages import PAGE_SIZES
from sparsemm.documents.rich.document import RICH_PATCH, RICH_SIZES, RICH_TILE
from sparsemm.embedded.smol.base import Base
from sparsemm.families.processors import without_video

LLAVA, QWEN = "smol-llava-next", "smol-qwen2-vl"
NAMES = (LLAVA, QWEN)
# Height, width in px of the images that LLaVA-NeXT takes at their own size: all pages, plain and rich.
PINPOINTS = [[height, width] for width, height in sorted({*PAGE_SIZES, *RICH_SIZES})]
MERGE = 2  # patches of Qwen2-VL's tower that make an image token, a side
# SmolLM2's chat format without a system message; images come first.
_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string %}{{ message['content'] }}{%- else %}"
    "{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{ 'IMAGE\\n' }}{%- else %}{{ part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
IMAGE = {LLAVA: ("", "<image>", ""), QWEN: ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")}


@dataclass(frozen=True)
class Tower:
    """Size of a vision tower: hidden width, layers, heads, width of the MLP."""

    width: int
    layers: int
    heads: int
    mlp: int


# LLaVA-NeXT's is as large as the tiny model's, which its training starts from.
TOWERS = {LLAVA: Tower(128, 3, 4, 384), QWEN: Tower(128, 4, 4, 384)}


def build(name: str, base: Base, *, tower: Tower | None = None, seed: int = 0) -> tuple[Any, Any]:
    """A model with the base's weights in its text model, the rest random, and its processor.

    Args:
        name: one of NAMES.
        base: the language model.
        tower: size of the vision tower; None: TOWERS[name].
        seed: of the random weights.

    Returns:
        The model in float32 and the processor.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"model {name!r} is unknown: use one of {', '.join(NAMES)}")
    tower = tower or TOWERS[name]
    make_model, make_processor = (
        (_llava_next, _llava_next_processor) if name == LLAVA else (_qwen2_vl, _qwen2_vl_processor)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(base, tower)
    state = dict(base.weights)
    if name == QWEN:  # its queries, keys and values have biases
        own = model.model.language_model.state_dict()
        state |= {key: torch.zeros_like(own[key]) for key in own if key.endswith("proj.bias")}
    model.model.language_model.load_state_dict(state)
    model.tie_weights()
    model.generation_config.eos_token_id = base.shape["eos_token_id"]
    model.generation_config.pad_token_id = base.tokenizer.pad_token_id
    if name == LLAVA:  # the end of a row of patches reads as the end of a line of text
        (newline,) = base.tokenizer("\n", add_special_tokens=False)["input_ids"]
        model.model.image_newline.data.copy_(base.weights["embed_tokens.weight"][newline])
    template = _TEMPLATE.replace("IMAGE", "".join(IMAGE[name]))
    return model, make_processor(copy.deepcopy(base.tokenizer), template)


def _token(base: Base, token: str) -> int:
    found = base.tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def _llava_next(base: Base, tower: Tower) -> Any:
    vision = CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.mlp,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        image_size=RICH_TILE,
        patch_size=RICH_PATCH,
        projection_dim=tower.width,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=LlamaConfig(**base.shape),
        image_token_index=_token(base, "<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(RICH_TILE // RICH_PATCH) ** 2,
        tie_word_embeddings=True,
    )
    return LlavaNextForConditionalGeneration(config)


def _llava_next_processor(tokenizer: PreTrainedTokenizerFast, template: str) -> Any:
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": RICH_TILE},
        crop_size={"height": RICH_TILE, "width": RICH_TILE},
        image_grid_pinpoints=PINPOINTS,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    make: Any = LlavaNextProcessor  # its constructor is untyped
    return make(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=RICH_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE[LLAVA][1],
        chat_template=template,
    )


def _sections(half: int) -> list[int]:
    """How the `half` frequencies of a head are shared out to time, height and width: [8, 12, 12] of 32."""
    time = half // 4
    height = (half - time) // 2
    return [time, height, half - time - height]


def _qwen2_vl(base: Base, tower: Tower) -> Any:
    half = base.shape["hidden_size"] // base.shape["num_attention_heads"] // 2
    rope = base.shape["rope_parameters"] | {"mrope_section": _sections(half)}
    config = Qwen2VLConfig(
        text_config=base.shape | {"rope_parameters": rope},
        vision_config={
            "depth": tower.layers,
            "embed_dim": tower.width,
            "num_heads": tower.heads,
            "mlp_ratio": tower.mlp // tower.width,
            "hidden_size": base.shape["hidden_size"],
            "patch_size": RICH_PATCH // MERGE,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "in_channels": 3,
        },
        image_token_id=_token(base, "<|image_pad|>"),
        video_token_id=_token(base, "<|video_pad|>"),
        vision_start_token_id=_token(base, "<|vision_start|>"),
        vision_end_token_id=_token(base, "<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2VLForConditionalGeneration(config)


def _qwen2_vl_processor(tokenizer: PreTrainedTokenizerFast, template: str) -> Any:
    areas = [width * height for height, width in PINPOINTS]
    images = Qwen2VLImageProcessorPil(
        patch_size=RICH_PATCH // MERGE,
        merge_size=MERGE,
        temporal_patch_size=2,
        # Pages go in at their own size; twice as much either way still may.
        size={"shortest_edge": min(areas) // 2, "longest_edge": 2 * max(areas)},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    make: Any = without_video(Qwen2VLProcessor)
    tokenizer.image_token, tokenizer.video_token = "<|image_pad|>", "<|video_pad|>"
    tokenizer.vision_start_token, tokenizer.vision_end_token = "<|vision_start|>", "<|vision_end|>"
    return make(images, tokenizer, chat_template=template)
