"""Folders of the paper's three kinds of model at tiny size: the true processors' configurations and chat templates.

Images are as large as in the 7B models (tiles of 336 px, cells of 28 px); the tokenizers are character-level.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import LlavaNextProcessor, PreTrainedTokenizerFast, Qwen2VLProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from sparsemm.families.processors import without_video

from helpers import tiny
from helpers.tiny_families import tiny_family

PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
KINDS = ("vicuna", "mistral", "qwen2_vl")
_PARTS = "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
_IMAGES = "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
# What the hub's templates give for a user's turn: no system line; the default system line of Qwen2-VL.
TEMPLATES = {
    "vicuna": "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    + _IMAGES
    + _PARTS
    + "{{ ' ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "mistral": "{% for message in messages %}{{ '[INST] ' }}"
    + _IMAGES
    + _PARTS
    + "{{ ' [/INST]' }}{% endfor %}",
    "qwen2_vl": "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
}


def with_bos(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy that begins every text with BOS, as the tokenizers of Llama and Mistral do."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    bos = tokenizer.bos_token
    backend.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token=bos,
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def processor(kind: str) -> Any:
    """The processor of one of KINDS."""
    if kind == "qwen2_vl":
        images = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
        tokenizer = tiny_family("qwen2_vl")[1].tokenizer
        return without_video(Qwen2VLProcessor)(images, tokenizer, chat_template=TEMPLATES[kind])
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 336},
            crop_size={"height": 336, "width": 336},
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=with_bos(tiny.tokenizer()),
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATES[kind],
        num_additional_image_tokens=1,
    )


def save_processor(folder: Path, kind: str) -> Path:
    """Save the processor of one of KINDS with what config.json says of its family."""
    processor(kind).save_pretrained(folder)
    config = {"model_type": "qwen2_vl"}
    if kind != "qwen2_vl":
        config = {
            "model_type": "llava_next",
            "text_config": {"model_type": "llama" if kind == "vicuna" else kind},
        }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
