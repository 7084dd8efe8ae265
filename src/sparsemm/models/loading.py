"""Load a model and its processor from a local folder, read its sizes, and build its inputs."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.families import FAMILIES, Family

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_HASH_ALL = 1 << 30  # bytes; weights beyond this are identified by their headers and sizes


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode with its processor and its identity for result files.

    Attributes:
        model: the transformers model.
        processor: its processor.
        family: the config's `model_type`.
        name: of the model's folder.
        revision: the hub's commit, or a digest of the weights.
    """

    model: PreTrainedModel
    processor: Any
    family: str
    name: str
    revision: str


@dataclass(frozen=True)
class ModelShape:
    """Sizes of the text model; `num_heads` counts query heads."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    image_token_id: int


def shape(model: PreTrainedModel) -> ModelShape:
    """The text model's sizes and the id of the image placeholder token."""
    text = model.config.get_text_config()
    heads = int(text.num_attention_heads)
    return ModelShape(
        num_layers=int(text.num_hidden_layers),
        num_heads=heads,
        num_kv_heads=int(text.num_key_value_heads),
        head_dim=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        image_token_id=int(model.config.image_token_id),
    )


def load_model(path: str | Path, *, device: str = "cpu", dtype: str = "float32") -> Loaded:
    """Load the model and the processor of a folder.

    Args:
        path: a local folder with a transformers model.
        device: cpu, cuda or cuda:N.
        dtype: a key of DTYPES, to which the weights are converted.

    Raises:
        InputError: for a missing folder, a config of an unknown family, missing or truncated weights, weights of
            another shape, a processor that cannot be built, an unknown dtype or an absent device.
    """
    folder = Path(path)
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known: choose from {', '.join(DTYPES)}")
    target = _device(device)
    family = _family(folder)
    files = _weight_files(folder)
    for file in files:
        check_safetensors(file)
    try:
        model, lacking = family.load_model(folder, DTYPES[dtype])
    except Exception as error:  # transformers raises many types for a broken folder
        raise InputError(f"{folder}: the model cannot be loaded: {_line(error)}; copy it again") from error
    if lacking:
        raise InputError(
            f"{folder}: the weights lack or do not fit {len(lacking)} parameters, such as {lacking[0]}; "
            "copy the checkpoint again"
        )
    processor = load_processor(folder, family)
    placed: Any = model  # `to` is wrapped in transformers and has lost its signature
    placed.eval().to(target)
    return Loaded(model, processor, family.name, folder.resolve().name, _revision(files))


def load_processor(path: str | Path, family: Family | None = None) -> Any:
    """Load the processor of a folder; no model is loaded.

    Args:
        path: a local folder with a transformers processor and the model's config.json.
        family: the model's family; default: that of config.json.

    Raises:
        InputError: when the folder's family is unknown or the processor cannot be built.
    """
    folder = Path(path)
    family = family or _family(folder)
    try:
        processor = family.load_processor(folder)
    except Exception as error:
        raise InputError(
            f"{folder}: the processor cannot be built: {_line(error)}; copy the folder again"
        ) from error
    if not family.owns(processor):  # transformers falls back to the tokenizer alone without a warning
        raise InputError(
            f"{folder}: got {type(processor).__name__} in place of a processor; "
            "copy processor_config.json and preprocessor_config.json too"
        )
    return processor


def build_inputs(
    loaded_or_processor: Any,
    images: Sequence[Image | Sequence[Image]],
    prompts: Sequence[str],
    device: str | torch.device = "cpu",
) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch of prompts with images, left padded.

    Each prompt is formatted by the processor's chat template, images first.

    Args:
        loaded_or_processor: a `Loaded` or a processor.
        images: one entry a prompt, an image or several.
        prompts: the texts.
        device: of the tensors.

    Raises:
        InputError: for lists of unequal length, an image without area, or a processor without a template.
    """
    processor = getattr(loaded_or_processor, "processor", loaded_or_processor)
    if len(images) != len(prompts):
        raise InputError(f"{len(images)} images for {len(prompts)} prompts; give one entry for each prompt")
    if getattr(processor, "chat_template", None) is None:
        name = type(processor).__name__
        raise InputError(f"{name} has no chat template; add chat_template.jinja to its folder")
    nested = [[each] if isinstance(each, Image) else list(each) for each in images]
    for index, each in enumerate(nested):
        for image in each:
            if min(image.size) < 1:
                size = f"{image.size[0]} x {image.size[1]}"
                raise InputError(f"the image of prompt {index} is {size} pixels; give one with area")
    texts = [render(processor, prompt, len(each)) for prompt, each in zip(prompts, nested)]
    encoded = processor(
        images=nested if any(nested) else None,
        text=texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    return {name: tensor.to(device) for name, tensor in encoded.items()}


def render(processor: Any, prompt: str, images: int = 1) -> str:
    """One prompt in the processor's chat format, before image tokens are expanded."""
    content: list[dict[str, str]] = [{"type": "image"} for _ in range(images)]
    content.append({"type": "text", "text": prompt})
    chat = [{"role": "user", "content": content}]
    text: str = processor.apply_chat_template(chat, add_generation_prompt=True)
    return text


def check_safetensors(file: Path) -> None:
    """Raise InputError unless the file is a safetensors file of the length that its header implies."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("header beyond the end")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a safetensors file, or truncated; copy it again") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise InputError(f"{file}: truncated, {size} of {expected} bytes; copy it again")


def _device(device: str) -> torch.device:
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known: use cpu, cuda or cuda:N") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device!r} asked for, but torch sees no GPU: set device: cpu")
    return target


def _family(folder: Path) -> Family:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such model folder; `hf download MODEL_ID --local-dir {folder}` fetches a hub model"
        )
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = config["model_type"]
    except FileNotFoundError as error:
        raise InputError(f"{file}: missing; the folder holds no transformers model") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not a transformers config (no model_type); copy it again") from error
    for family in FAMILIES:
        if family.name == kind:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise InputError(f"{file}: model_type {kind!r} is not supported; known families: {known}")


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if index.is_file():
        try:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{index}: not an index of weights; copy it again") from error
        files = [folder / name for name in sorted(set(names))]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: missing weights; copy or download the checkpoint again")
    return files


def _revision(files: Sequence[Path]) -> str:
    """The hub's commit if the path contains it, else a digest of the weights."""
    snapshot = re.search(r"snapshots/([0-9a-f]{40})", files[0].absolute().as_posix())
    if snapshot:
        return snapshot.group(1)
    digest = hashlib.sha256()
    whole = sum(file.stat().st_size for file in files) <= _HASH_ALL
    for file in files:
        with file.open("rb") as stream:
            if whole:
                while block := stream.read(1 << 20):
                    digest.update(block)
            else:
                (length,) = struct.unpack("<Q", stream.read(8))
                digest.update(stream.read(length) + str(file.stat().st_size).encode())
    return f"{'weights' if whole else 'headers'}-{digest.hexdigest()[:16]}"


def _line(error: Exception) -> str:
    """The first line of an error, short enough for a log."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
