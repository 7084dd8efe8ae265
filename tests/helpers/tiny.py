"""Tiny random models and the real processor, built in memory from configs (no download, no files).

Both variants are real `LlavaNextForConditionalGeneration` with a CLIP vision tower: "mha" has Llama text
with 6 heads, "gqa" has Mistral text with 6 query heads and 2 KV heads. The processor is a real
`LlavaNextProcessor` around a character-level tokenizer. Everything is cached and shared
between tests: restore what you change.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
TEMPLATE = (
    "{% for message in messages %}{{ '<s>USER: ' if message['role'] == 'user' else ' ASSISTANT: ' }}"
    "{% for part in message['content'] %}"
    "{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
TILE, PATCH, LAYERS, HEADS, HEAD_DIM = 32, 8, 3, 6, 8
PINPOINTS = [[32, 64], [64, 32], [64, 64]]
VARIANTS = ("mha", "gqa")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Character-level fast tokenizer, left padding, one token per character."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + CHARACTERS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


@cache
def processor() -> LlavaNextProcessor:
    """The real processor: 16 base tokens of 8 x 8 px, anyres tiles of 32 px, newline tokens."""
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=PINPOINTS,
    )
    return LlavaNextProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )


def config(variant: str = "mha") -> LlavaNextConfig:
    """The model's configuration: 3 layers, 6 query heads of 8 channels, 6 ("mha") or 2 ("gqa") KV heads."""
    text: dict[str, Any] = {
        "vocab_size": len(SPECIAL) + len(CHARACTERS),
        "hidden_size": HEADS * HEAD_DIM,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.15,
    }
    if variant == "mha":
        text_config: Any = LlamaConfig(num_key_value_heads=HEADS, **text)
    elif variant == "gqa":
        text_config = MistralConfig(num_key_value_heads=2, sliding_window=None, **text)
    else:
        raise ValueError(f"no tiny model {variant!r}; there are {VARIANTS}")
    vision = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=TILE,
        patch_size=PATCH,
        projection_dim=24,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text_config,
        image_token_index=SPECIAL.index("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
        image_seq_length=(TILE // PATCH) ** 2,
        pad_token_id=0,
    )


@cache
def model(variant: str = "mha") -> LlavaNextForConditionalGeneration:
    """A random model (seeded), eval mode, float32; queries and keys are scaled up so that attention is peaked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        made = LlavaNextForConditionalGeneration(config(variant)).eval()
        with torch.no_grad():
            made.model.image_newline.normal_(std=0.5)
            for name, parameter in made.named_parameters():
                if "language_model" in name and ("q_proj.weight" in name or "k_proj.weight" in name):
                    parameter.mul_(1.6)
            made.lm_head.weight.mul_(0.2)  # logits of size 1, where float32 noise is far below 1e-5
    made.generation_config.eos_token_id = None  # a random model must not stop by chance
    made.generation_config.pad_token_id = 0
    return made


def image(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """A noisy RGB image: every patch differs from every other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def inputs(
    sizes: list[tuple[int, int]] | None = None, prompts: list[str] | None = None
) -> dict[str, torch.Tensor]:
    """Model inputs, left padded, one image a prompt; sizes are (width, height), default one 60 x 40 image."""
    sizes = sizes or [(60, 40)]
    prompts = prompts or [f"Read line {index}." for index in range(len(sizes))]
    texts = [f"<s>USER: <image>\n{prompt} ASSISTANT:" for prompt in prompts]
    images = [[image(*size, seed=index)] for index, size in enumerate(sizes)]
    return dict(processor()(images=images, text=texts, return_tensors="pt", padding=True))


UNEQUAL = [(60, 40), (20, 64), (64, 64)]  # prompts of three lengths: a padded batch
