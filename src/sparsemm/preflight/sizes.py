"""A model's sizes, read from its config.json without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsemm.errors import InputError

ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

# What a config.json may leave out, because it is transformers' default of its type.
_LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 32000}
TEXT_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {**_LLAMA, "num_attention_heads": 32},
    "mistral": {
        **_LLAMA,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
VISION_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "qwen2_vl": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "patch_size": 14, "spatial_merge_size": 2},
}


class UnknownSizes(InputError):
    """A config that leaves out a size whose default is not known here; the model may be a good one."""


@dataclass(frozen=True)
class ModelSizes:
    """What memory and work depend on.

    Attributes:
        family: the config's `model_type`.
        stored: dtype of the weight files.
        intermediate: width of the text model's MLP.
        tile: side of the vision tower's image, px (0: any size).
        merge: patches a side that become one token.
        pinpoints: resolutions [height, width] of the grid of tiles, px.
        most_tokens: image tokens where the family has a fixed number a tile, 0 elsewhere.
    """

    family: str
    stored: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    tile: int
    patch: int
    merge: int
    pinpoints: tuple[tuple[int, int], ...] = ()
    most_tokens: int = 0

    @property
    def text_weights(self) -> int:
        """Numbers that the text model multiplies a token by, the output layer left out."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def vision_weights(self) -> int:
        """The same for a patch in the vision tower."""
        inner = 4 * self.vision_hidden**2 + 2 * self.vision_hidden * self.vision_intermediate
        return self.vision_layers * inner

    def kv_bytes(self, element: int) -> int:
        """Bytes of K and V of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * element


def read_sizes(file: Path) -> ModelSizes:
    """The sizes in a config.json.

    Raises:
        UnknownSizes: for one that leaves out a size.
        InputError: for a file that is missing or no config.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except OSError as error:
        raise InputError(f"{file}: missing; the folder holds no transformers model") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not a transformers config (no model_type); copy it again") from error
    try:
        return _sizes(config)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnknownSizes(f"config.json of this {kind} does not say {error}") from error


def _sizes(config: Mapping[str, Any]) -> ModelSizes:
    given = config.get("text_config") or config  # Qwen2-VL's on the hub has the text's sizes at the top
    text = {**TEXT_DEFAULTS.get(given.get("model_type", "llama"), {}), **_set(given)}
    vision = {**VISION_DEFAULTS.get(config["model_type"], {}), **_set(config["vision_config"])}
    heads = int(text["num_attention_heads"])
    hidden = int(vision.get("embed_dim") or vision["hidden_size"])
    inner = vision.get("intermediate_size") or hidden * vision.get("mlp_ratio", 4)
    tile = _first(vision.get("image_size") or 0)
    tiles = config.get("max_patches", 12) + 1
    return ModelSizes(
        family=str(config["model_type"]),
        stored=str(config.get("dtype") or config.get("torch_dtype") or text.get("torch_dtype") or "float32"),
        layers=int(text["num_hidden_layers"]),
        hidden=int(text["hidden_size"]),
        intermediate=int(text["intermediate_size"]),
        heads=heads,
        kv_heads=int(text.get("num_key_value_heads") or heads),
        head_dim=int(text.get("head_dim") or text["hidden_size"] // heads),
        vocabulary=int(text["vocab_size"]),
        vision_layers=int(vision.get("depth") or vision["num_hidden_layers"]),
        vision_hidden=hidden,
        vision_intermediate=int(inner),
        tile=tile,
        patch=_first(vision["patch_size"]),
        merge=int(vision.get("spatial_merge_size", 1)),
        pinpoints=tuple((int(h), int(w)) for h, w in config.get("image_grid_pinpoints") or ()),
        most_tokens=tiles * int(config["image_seq_length"]) if config["model_type"] == "internvl" else 0,
    )


def _set(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)
