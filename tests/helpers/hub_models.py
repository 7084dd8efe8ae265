"""Repositories of tiny random models in the shape of the paper's three: configurations, processors, templates, shards.

LLaVA-NeXT with Llama text (MHA) and with Mistral text (GQA), and Qwen2-VL. Images are as large as in the 7B models
(CLIP 336 px in patches of 14, Qwen 14 px merged by two), text and vision models are tiny, tokenizers character-level.
Answers end after a few tokens: every token's most likely successor is one nearer to the end.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from helpers import tiny
from helpers.hub import Repository
from helpers.hub_data import data_sets

PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
LLAVA_TOKENS = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
QWEN_TOKENS += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
IMAGES = (
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}"
)
TEXTS = "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
# As on the hub.
VICUNA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    + IMAGES
    + "{% if message['role'] != 'assistant' %}"
    + TEXTS
    + "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    + TEXTS
    + "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
MISTRAL = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<<SYS>>\n' + message['content'][0]['text'] + '\n<</SYS>>\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' }}"
    + IMAGES
    + TEXTS
    + "{{ content['text'] }}{% endfor %}{{' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'][0]['text'] + '<\\s> '}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
QWEN = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: "
    "{% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}"
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer_files(special: list[str], named: dict[str, str], kind: str, bos: bool) -> dict[str, Any]:
    """tokenizer.json and its companions: one token a character."""
    vocabulary = {token: index for index, token in enumerate(special + tiny.CHARACTERS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    if bos:
        one = [("<s>", vocabulary["<s>"])]
        backend.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=one)
    facts = {"tokenizer_class": kind, "clean_up_tokenization_spaces": False, "padding_side": "left", **named}
    return {
        "tokenizer.json": json.loads(backend.to_str()),
        "tokenizer_config.json": facts,
        "special_tokens_map.json": named,
    }


def _text(vocabulary: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 8 * heads,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "initializer_range": 0.15,
    }


def _llava(kind: str) -> tuple[Any, dict[str, Any]]:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    size = len(LLAVA_TOKENS) + len(tiny.CHARACTERS)
    if kind == "vicuna":
        text: Any = LlamaConfig(**_text(size, 6, 6), **ids, max_position_embeddings=4096)
    else:
        text = MistralConfig(**_text(size, 6, 2), **ids, max_position_embeddings=32768, sliding_window=None)
    vision = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=336,
        patch_size=14,
        projection_dim=24,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=LLAVA_TOKENS.index("<image>"),
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=576,
        tie_word_embeddings=False,
        **ids,
    )
    named = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "image_token": "<image>",
    }
    images = {
        "aspect_ratio_setting": "anyres",
        "crop_size": {"height": 336, "width": 336},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": PINPOINTS,
        "image_mean": MEAN,
        "image_processor_type": "LlavaNextImageProcessor",
        "image_std": STD,
        "processor_class": "LlavaNextProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 336},
    }
    processor = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": 14,
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }
    files = {
        **_tokenizer_files(LLAVA_TOKENS, named, "PreTrainedTokenizerFast", bos=True),
        "preprocessor_config.json": images,
        "processor_config.json": processor,
        "chat_template.json": {"chat_template": VICUNA if kind == "vicuna" else MISTRAL},
        "generation_config.json": {"_from_model_config": True, **ids},
    }
    return LlavaNextForConditionalGeneration(config), files


def _qwen() -> tuple[Any, dict[str, Any]]:
    token = {text: index for index, text in enumerate(QWEN_TOKENS)}
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1000000.0}
    text = _text(len(QWEN_TOKENS) + len(tiny.CHARACTERS), 4, 2) | {
        "bos_token_id": token["<|endoftext|>"],
        "eos_token_id": token["<|im_end|>"],
        "max_position_embeddings": 32768,
        "rope_parameters": rope,
    }
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, "num_heads": 2}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision
        | {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3},
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    extra = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    images = {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": MEAN,
        "image_std": STD,
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
    }
    generation = {
        "bos_token_id": token["<|endoftext|>"],
        "pad_token_id": token["<|endoftext|>"],
        "do_sample": True,
        "eos_token_id": [token["<|im_end|>"], token["<|endoftext|>"]],
        "repetition_penalty": 1.05,
        "temperature": 0.01,
        "top_p": 0.001,
        "top_k": 1,
    }
    files = {
        **_tokenizer_files(QWEN_TOKENS, named | extra, "PreTrainedTokenizerFast", bos=False),
        "preprocessor_config.json": images,
        "chat_template.json": {"chat_template": QWEN},
        "generation_config.json": generation,
    }
    files["tokenizer_config.json"]["chat_template"] = QWEN
    return Qwen2VLForConditionalGeneration(config), files


def _end_soon(model: Any, end: int, first: int) -> None:
    """Favour, after the n-th character, number n / 2, and after the first the end; letters and digits come first."""
    embeddings, head = model.get_input_embeddings().weight, model.lm_head.weight
    order = sorted(range(len(tiny.CHARACTERS)), key=lambda index: not tiny.CHARACTERS[index].isalnum())
    head.mul_(0.5)
    for place, index in enumerate(order):
        after = end if place == 0 else first + order[place // 2]
        head[after] += 3 * embeddings[first + index] / embeddings[first + index].norm()
    embeddings.mul_(14)


def _repository(name: str, kind: str) -> Repository:
    """A model's files as on the hub: sharded safetensors, the notes and old weights that nobody needs."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), TemporaryDirectory() as folder:
        torch.manual_seed(7)
        model, files = _qwen() if kind == "qwen2_vl" else _llava(kind)
        if kind != "qwen2_vl":
            model.model.image_newline.normal_(std=0.5)
        special = QWEN_TOKENS if kind == "qwen2_vl" else LLAVA_TOKENS
        _end_soon(model, special.index("<|im_end|>" if kind == "qwen2_vl" else "</s>"), len(special))
        model = model.to(torch.bfloat16 if kind == "qwen2_vl" else torch.float16)
        model.save_pretrained(folder, max_shard_size="60KB")
        saved = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    saved |= {name: (json.dumps(facts, indent=2) + "\n").encode() for name, facts in files.items()}
    unwanted = {"README.md": b"# Made up for tests\n", ".gitattributes": b"*.safetensors filter=lfs\n"}
    unwanted |= {"pytorch_model.bin": b"never wanted", "modeling_custom.py": b"never wanted"}
    return Repository("model", name, {**saved, **unwanted})


@cache
def paper_models() -> tuple[Repository, ...]:
    """The three models by their ids of the paper configuration."""
    return (
        _repository("llava-hf/llava-v1.6-vicuna-7b-hf", "vicuna"),
        _repository("llava-hf/llava-v1.6-mistral-7b-hf", "mistral"),
        _repository("Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl"),
    )


def paper_hub() -> list[Repository]:
    """All that config/paper.yaml takes from the hub, for `local_hub(*paper_hub())`; do not change them."""
    return [*paper_models(), *data_sets()]
