"""The three 7B models' shapes with random weights, made on the device from configs: no file is read.

Speed and memory do not depend on what the weights are. `tiny=True` gives the same classes with a few thousand weights.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    PreTrainedModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

MODELS = ("llava-next-vicuna-7b", "llava-next-mistral-7b", "qwen2-vl-7b")
_IMAGE = 5  # id of the image placeholder in the tiny vocabulary; the real ones stand in the configs


def build_model(
    name: str, device: torch.device, dtype: torch.dtype, *, tiny: bool = False
) -> PreTrainedModel:
    """A model of this name's shape with random weights, in eval mode."""
    kind, config = _config(name, tiny)
    torch.manual_seed(0)
    with torch.device(device):
        model = kind._from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


def _config(name: str, tiny: bool) -> tuple[Any, Any]:
    if name == "qwen2-vl-7b":
        return Qwen2VLForConditionalGeneration, _qwen(tiny)
    return LlavaNextForConditionalGeneration, _llava(name, tiny)


def _llava(name: str, tiny: bool) -> LlavaNextConfig:
    mistral = name == "llava-next-mistral-7b"
    if tiny:
        sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2 if mistral else 4}
        vision = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        vision |= {"image_size": 56, "patch_size": 14, "projection_dim": 32}
    else:
        sizes = {"vocab_size": 32064, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
        sizes |= {
            "intermediate_size": 14336 if mistral else 11008,
            "num_key_value_heads": 8 if mistral else 32,
        }
        vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        vision |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768}
    sizes |= {"max_position_embeddings": 65536}
    text: Any = MistralConfig(sliding_window=None, **sizes) if mistral else LlamaConfig(**sizes)
    tile = vision["image_size"]
    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=text,
        image_token_index=_IMAGE if tiny else 32000,
        image_grid_pinpoints=[[tile, 2 * tile], [2 * tile, tile], [2 * tile, 2 * tile]],
        image_seq_length=(tile // 14) ** 2,
        tie_word_embeddings=False,
    )


def _qwen(tiny: bool) -> Qwen2VLConfig:
    if tiny:
        text = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 64}
        ids = {
            "image_token_id": _IMAGE,
            "video_token_id": 6,
            "vision_start_token_id": 7,
            "vision_end_token_id": 8,
        }
        sections = [2, 3, 3]
    else:
        text = {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
        }
        text |= {"num_attention_heads": 28, "num_key_value_heads": 4}
        vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "hidden_size": 3584}
        ids = {}
        sections = [16, 24, 24]
    rope = {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e6}
    return Qwen2VLConfig(
        text_config={**text, "max_position_embeddings": 65536, "rope_parameters": rope},
        vision_config={**vision, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        tie_word_embeddings=False,
        **ids,
    )


def build_prompt(model: PreTrainedModel, tokens: int) -> tuple[dict[str, torch.Tensor], int]:
    """Inputs of exactly `tokens` tokens, one row, on the host: as many random images as fit; and their tokens.

    LLaVA-NeXT: images of 1 x 2 tiles (7B: 336 x 672 pixels, 1752 tokens). Qwen2-VL: 56 x 56 patches (784 tokens).
    """
    config: Any = model.config
    if config.model_type == "qwen2_vl":
        side = 56 if config.vision_config.depth > 2 else 8
        each, around = side * side // 4, 2
    else:
        grid = config.vision_config.image_size // config.vision_config.patch_size
        each, around = grid * grid + grid * (2 * grid + 1), 0
    count = max(1, (tokens - 32) // (each + around))
    one = [config.image_token_id] * each
    if around:
        one = [config.vision_start_token_id, *one, config.vision_end_token_id]
    ids = torch.tensor(one * count)
    rest = tokens - len(ids)
    if rest < 1:
        raise SystemExit(f"{tokens} tokens are too few for one image of {each}; ask for more")
    words = torch.arange(rest) % 40 + 10
    inputs = {"input_ids": torch.cat([ids, words])[None]}
    if around:
        inputs["pixel_values"] = torch.randn(count * side * side, 3 * 2 * 14 * 14)
        inputs["image_grid_thw"] = torch.tensor([[1, side, side]] * count)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == config.image_token_id).long()
    else:
        tile = config.vision_config.image_size
        inputs["pixel_values"] = torch.randn(count, 3, 3, tile, tile)
        inputs["image_sizes"] = torch.tensor([[tile, 2 * tile]] * count)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return inputs, count * each
