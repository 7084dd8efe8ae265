"""One tiny random model and processor of every supported family, built in memory from configs (no download, no files).

Each is the transformers class itself with its own processor around a character-level tokenizer. Everything is cached
and shared between tests: restore what you change.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    SiglipVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from sparsemm.families.processors import without_video

from helpers import tiny

FAMILY_NAMES = (
    "llava_next-llama",
    "llava_next-mistral",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava_onevision",
    "internvl",
)
TILE, CELL, MERGE = 32, 8, 2  # px a tile (of families with tiles), px an image token, patches merged a side
PINPOINTS = [
    [32, 64],
    [64, 32],
    [64, 64],
    [96, 32],
    [32, 96],
    [128, 128],
]  # the last is shrunk to one tile's count
_IMAGE = {"qwen": "<|image_pad|>", "llava": "<image>", "internvl": "<IMG_CONTEXT>"}
_NAMED = {  # special tokens that the processors ask the tokenizer for by name
    "qwen": {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    },
    "llava": {"image_token": "<image>", "video_token": "<video>"},
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
}
_SHOWN = {  # how each family's chat template writes an image
    "qwen": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava": "<image>\n",
    "internvl": "<IMG_CONTEXT>\n",
}


def _special(kind: str) -> list[str]:
    rest = [token for token in _NAMED[kind].values() if token != _IMAGE[kind]]
    return ["<pad>", "<s>", "</s>", "<unk>", _IMAGE[kind], *rest]


@cache
def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Left padding, one token per character; the image token is number 4."""
    vocabulary = {token: index for index, token in enumerate(_special(kind) + tiny.CHARACTERS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=_NAMED[kind],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _template(kind: str) -> str:
    return tiny.TEMPLATE.replace("<image>\\n", _SHOWN[kind].replace("\n", "\\n")).replace(
        "<image>\n", _SHOWN[kind]
    )


def _text(kind: str) -> dict[str, Any]:
    return {
        "vocab_size": len(_special(kind)) + len(tiny.CHARACTERS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.15,
        "tie_word_embeddings": False,
    }


def _qwen(name: str) -> tuple[Any, Any]:
    token = _tokenizer("qwen").convert_tokens_to_ids
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = _text("qwen") | {"rope_parameters": rope}
    vision: dict[str, Any] = {"num_heads": 2, "patch_size": CELL // MERGE, "in_channels": 3}
    ids = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    if name == "qwen2_vl":
        vision |= {"depth": 2, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}
        config: Any = Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
        made: Any = Qwen2VLForConditionalGeneration(config)
    elif name == "qwen2_5_vl":
        vision |= {"depth": 2, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32}
        vision |= {"window_size": 2 * CELL, "fullatt_block_indexes": [1]}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        made = Qwen2_5_VLForConditionalGeneration(config)
    else:
        text |= {"head_dim": 8, "rope_parameters": rope | {"mrope_interleaved": True}}
        vision |= {"depth": 3, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 32}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
        config = Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
        made = Qwen3VLForConditionalGeneration(config)
    stock = {"qwen2_vl": Qwen2VLProcessor, "qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}
    images = Qwen2VLImageProcessorPil(
        patch_size=CELL // MERGE, merge_size=MERGE, min_pixels=4 * CELL**2, max_pixels=80 * CELL**2
    )
    return made, without_video(stock[name])(images, _tokenizer("qwen"), chat_template=_template("qwen"))


def _llava_onevision() -> tuple[Any, Any]:
    vision = SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=TILE,
        patch_size=CELL,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_text("llava")),
        image_token_id=4,
        video_token_id=5,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_4",
        tie_word_embeddings=False,
    )
    images = LlavaOnevisionImageProcessorPil(
        size={"height": TILE, "width": TILE}, image_grid_pinpoints=PINPOINTS
    )
    processor = without_video(LlavaOnevisionProcessor)(
        images,
        _tokenizer("llava"),
        num_image_tokens=(TILE // CELL) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=_template("llava"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _internvl() -> tuple[Any, Any]:
    patch = CELL // MERGE
    vision = InternVLVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=[TILE, TILE],
        patch_size=[patch, patch],
    )
    tokens = (TILE // CELL) ** 2
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen2Config(**_text("internvl")),
        image_token_id=4,
        image_seq_length=tokens,
        downsample_ratio=1 / MERGE,
        tie_word_embeddings=False,
    )
    images = GotOcr2ImageProcessorPil(size={"height": TILE, "width": TILE}, max_patches=4)
    processor = without_video(InternVLProcessor)(
        images, _tokenizer("internvl"), image_seq_length=tokens, chat_template=_template("internvl")
    )
    return InternVLForConditionalGeneration(config), processor


@cache
def tiny_family(name: str) -> tuple[Any, Any]:
    """The random model (seeded, eval mode, float32) and the processor of one of FAMILY_NAMES."""
    if name.startswith("llava_next"):
        return tiny.model("mha" if name.endswith("llama") else "gqa"), tiny.processor()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if name == "llava_onevision":
            made, processor = _llava_onevision()
        elif name == "internvl":
            made, processor = _internvl()
        else:
            made, processor = _qwen(name)
        made.eval()
        with torch.no_grad():
            for key, parameter in made.named_parameters():
                if "language_model" in key and ("q_proj.weight" in key or "k_proj.weight" in key):
                    parameter.mul_(1.6)  # peaked attention
            made.lm_head.weight.mul_(0.2)  # logits of size 1, where float32 noise is far below 1e-5
    made.generation_config.eos_token_id = None  # a random model must not stop by chance
    made.generation_config.pad_token_id = 0
    return made, processor
