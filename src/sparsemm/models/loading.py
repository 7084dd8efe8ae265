"""Load a model and its processor from a local folder, read its sizes, and build its inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.families import FAMILIES, Family
from sparsemm.families.images import NO_LIMITS, ImageLimits, preparation_of
from sparsemm.models.weights import check_safetensors, revision_of, weight_files

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
RULES = ("paper", "current")
PROMPTS = ("template", "rules")


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


def load_model(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    prompt: str = "template",
    rules: str = "paper",
    images: ImageLimits = NO_LIMITS,
) -> Loaded:
    """Load the model and the processor of a folder. No code of the folder is run.

    Args:
        path: a local folder with a transformers model, its weights as safetensors.
        device: cpu, cuda or cuda:N.
        dtype: a key of DTYPES, to which the weights are converted.
        prompt: see `load_processor`.
        rules: see `load_processor`.
        images: see `load_processor`.

    Raises:
        InputError: for a missing folder, a config of an unknown family, missing or truncated weights, weights of
            another shape, a processor that cannot be built, an unknown dtype or an absent device.
    """
    folder = Path(path)
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known: choose from {', '.join(DTYPES)}")
    target = _device(device)
    family = family_of_folder(folder)
    files = weight_files(folder)
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
    processor = load_processor(folder, family, prompt=prompt, rules=rules, images=images)
    family.fit_model(model, processor)
    placed: Any = model  # `to` is wrapped in transformers and has lost its signature
    placed.eval().to(target)
    return Loaded(model, processor, family.name, folder.resolve().name, revision_of(files))


def load_processor(
    path: str | Path,
    family: Family | None = None,
    *,
    prompt: str = "template",
    rules: str = "paper",
    images: ImageLimits = NO_LIMITS,
) -> Any:
    """Load the processor of a folder; no model is loaded.

    Args:
        path: a local folder with a transformers processor and the model's config.json.
        family: the model's family; default: that of config.json.
        prompt: `template`: the processor's own chat format and images; `rules`: those of the rule set. The processor
            then has its chat template and limits, and `preparation`, which `build_inputs` and the layouts apply.
        rules: the rule set, a key of RULES.
        images: limits in place of the rule set's or the processor's own.

    Raises:
        InputError: when the folder's family is unknown, the processor cannot be built, or the limits do not fit it.
    """
    for key, value, known in (("prompt", prompt, PROMPTS), ("rules", rules, RULES)):
        if value not in known:
            raise InputError(f"{key} {value!r} is not known: choose from {', '.join(known)}")
    folder = Path(path)
    family = family or family_of_folder(folder)
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
    family.configure(processor, rules if prompt == "rules" else None, _text_model(folder), images)
    return processor


def build_inputs(
    loaded_or_processor: Any,
    images: Sequence[Image | Sequence[Image]],
    prompts: Sequence[str],
    device: str | torch.device = "cpu",
) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch of prompts with images, left padded.

    Each prompt is formatted by the processor's chat template, images first. Images are prepared as the processor's
    rule set says, if it has one.

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
    nested = [[each] if isinstance(each, Image) else list(each) for each in images]
    _check(processor, nested)
    texts = [render(processor, prompt, len(each)) for prompt, each in zip(prompts, nested)]
    return _encode(processor, texts, nested, device)


def encode_chats(
    loaded_or_processor: Any,
    chats: Sequence[Sequence[Mapping[str, Any]]],
    images: Sequence[Sequence[Image]],
    device: str | torch.device = "cpu",
) -> dict[str, torch.Tensor]:
    """The inputs of `generate` for a batch of conversations, left padded.

    Args:
        loaded_or_processor: a `Loaded` or a processor.
        chats: messages of a role and a list of parts, {"type": "image"} or {"type": "text", "text": ...}.
        images: of each conversation, in the order of their places.
        device: of the tensors.

    Raises:
        InputError: as `build_inputs`.
    """
    processor = getattr(loaded_or_processor, "processor", loaded_or_processor)
    if len(images) != len(chats):
        raise InputError(f"{len(images)} lists of images for {len(chats)} chats; give one for each chat")
    _check(processor, images)
    texts = [processor.apply_chat_template(list(chat), add_generation_prompt=True) for chat in chats]
    return _encode(processor, texts, [list(each) for each in images], device)


def _check(processor: Any, nested: Sequence[Sequence[Image]]) -> None:
    """One clear line for a processor without a template, or an image without area."""
    if getattr(processor, "chat_template", None) is None:
        name = type(processor).__name__
        raise InputError(f"{name} has no chat template; add chat_template.jinja to its folder")
    for index, each in enumerate(nested):
        for image in each:
            if min(image.size) < 1:
                size = f"{image.size[0]} x {image.size[1]}"
                raise InputError(f"the image of prompt {index} is {size} pixels; give one with area")


def _encode(
    processor: Any, texts: list[str], nested: list[list[Image]], device: str | torch.device
) -> dict[str, torch.Tensor]:
    """Tokens and pixels of prompts in the processor's chat format."""
    if (preparation := preparation_of(processor)) is not None:
        nested = [[preparation.apply(image) for image in each] for each in nested]
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


def _device(device: str) -> torch.device:
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known: use cpu, cuda or cuda:N") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device!r} asked for, but torch sees no GPU: set device: cpu")
    return target


def family_of_folder(folder: str | Path) -> Family:
    """The family that a model folder's config.json names.

    Raises:
        InputError: for a missing folder or file, and for a family that is not supported.
    """
    kind = _config(Path(folder))["model_type"]
    for family in FAMILIES:
        if family.name == kind:
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise InputError(
        f"{Path(folder) / 'config.json'}: model_type {kind!r} is not supported; known families: {known}"
    )


def _config(folder: Path) -> dict[str, Any]:
    """The folder's config.json, which has a `model_type`."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such model folder; `hf download MODEL_ID --local-dir {folder}` fetches a hub model"
        )
    file = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        config["model_type"]
    except FileNotFoundError as error:
        raise InputError(f"{file}: missing; the folder holds no transformers model") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: not a transformers config (no model_type); copy it again") from error
    return config


def _text_model(folder: Path) -> str:
    """The `model_type` of the text model; without a word of it, transformers takes Llama for LLaVA-NeXT."""
    text = _config(folder).get("text_config") or {}
    return str(text.get("model_type", "llama"))


def _line(error: Exception) -> str:
    """The first line of an error, short enough for a log."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
