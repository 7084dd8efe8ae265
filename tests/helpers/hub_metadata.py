"""The repositories of config/paper.yaml as preflight sees them: true configs, weights and rows of no size."""

from __future__ import annotations

import json
import struct
from typing import Any

import yaml

from sparsemm.benchmarks import get_benchmark

from helpers.hub import Repository
from project import ROOT

PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))
VICUNA, MISTRAL, QWEN = (model["hub"] for model in PAPER["models"].values())
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
}
# What the hub's files say, and leave out: sizes that are transformers' defaults.
CONFIGS: dict[str, dict[str, Any]] = {
    VICUNA: {
        "model_type": "llava_next",
        "torch_dtype": "float16",
        "image_grid_pinpoints": PINPOINTS,
        "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064},
        "vision_config": CLIP,
    },
    MISTRAL: {
        "model_type": "llava_next",
        "torch_dtype": "float16",
        "image_grid_pinpoints": PINPOINTS,
        "text_config": {
            "model_type": "mistral",
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "vocab_size": 32064,
        },
        "vision_config": CLIP,
    },
    QWEN: {
        "model_type": "qwen2_vl",
        "torch_dtype": "bfloat16",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "vision_config": {
            "depth": 32,
            "embed_dim": 1280,
            "mlp_ratio": 4,
            "num_heads": 16,
            "hidden_size": 3584,
            "patch_size": 14,
            "spatial_merge_size": 2,
        },
    },
}
NUMBERS = {VICUNA: 7_063_000_000, MISTRAL: 7_567_000_000, QWEN: 8_291_000_000}


def model(name: str, **changes: Any) -> Repository:
    """A model with its config, and weights whose header names all numbers and that holds none."""
    shape = {"all": {"dtype": "F16", "shape": [NUMBERS[name]], "data_offsets": [0, 2 * NUMBERS[name]]}}
    header = json.dumps(shape).encode()
    files = {
        "config.json": json.dumps(CONFIGS[name]).encode(),
        "model.safetensors": struct.pack("<Q", len(header)) + header,
        "README.md": b"",
    }
    return Repository("model", name, files, **changes)


def data_set(name: str, rows: bytes = b"rows", **changes: Any) -> Repository:
    """The data set of a benchmark, its files called as on the hub."""
    benchmark: Any = get_benchmark(name)
    parts = [benchmark, *([benchmark.join] if benchmark.join else [])]
    folders = ["data" if part.config == "default" else part.config for part in parts]
    files = {f"{folder}/{part.split}-00000-of-00001.parquet": rows for folder, part in zip(folders, parts)}
    return Repository("dataset", benchmark.hub[0], files, **changes)


def metadata_hub() -> dict[str, Repository]:
    """Every repository of the paper's configuration by its key there."""
    found = {f"models.{key}": model(entry["hub"]) for key, entry in PAPER["models"].items()}
    found |= {f"benchmarks.{name}": data_set(name) for name in PAPER["benchmarks"]}
    probe = {"data/train-00000-of-00001.parquet": b"pages"}
    return found | {"probe": Repository("dataset", PAPER["probe"]["hub"], probe)}
