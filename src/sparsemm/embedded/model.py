"""Configuration and processor of `tiny-llava-next-vicuna`: transformers' LLaVA-NeXT classes at a laptop's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from sparsemm.documents.pages import PAGE_SIZES, TILE
from sparsemm.embedded.tokenizer import CHAT_TEMPLATE, build_tokenizer, token_id

NAME = "tiny-llava-next-vicuna"
PATCH = 8  # px; a tile is 8 x 8 patches
PINPOINTS = [[height, width] for width, height in PAGE_SIZES]


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlavaNextConfig:
    """A CLIP tower (3 layers, width 128) and a Llama text model (6 layers, 12 heads of 24, hidden 192, MHA)."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=TILE,
        patch_size=PATCH,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=12,
        num_key_value_heads=12,
        head_dim=24,
        initializer_range=0.06,  # about 1 / sqrt(hidden); with 0.02 a model this narrow learns to copy late
        max_position_embeddings=65536,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_id(tokenizer, "<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(TILE // PATCH) ** 2,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Any:
    """LLaVA-NeXT's processor: AnyRes tiles of 64 px, pages at their own size (no resize), pixels in [-1, 1]."""
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=PINPOINTS,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    make: Any = LlavaNextProcessor  # its constructor is untyped
    return make(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(seed: int = 0) -> tuple[LlavaNextForConditionalGeneration, Any]:
    """A randomly initialised model (float32) and its processor; `seed` decides the weights."""
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    return LlavaNextForConditionalGeneration(build_config(tokenizer)), build_processor(tokenizer)


def export(model: LlavaNextForConditionalGeneration, processor: Any, folder: str | Path) -> None:
    """Write the checkpoint as float16 safetensors with its processor."""
    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
