"""From a base model and an adapter to a checkpoint folder that anything made for transformers can load.

An adapter folder holds adapter.safetensors (float16: LoRA of the text model, vision tower, projector) and its card.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsemm.embedded.smol import lora
from sparsemm.embedded.smol.architecture import NAMES, Tower, build
from sparsemm.embedded.smol.base import Base, load_base
from sparsemm.errors import InputError

ADAPTER = "adapter.safetensors"
_TEXT = "model.language_model."
_LORA = "lora."


def adapter_of(model: Any) -> dict[str, torch.Tensor]:
    """What was trained of a model with LoRA: its updates, and all that is not of the text model."""
    state = {f"{_LORA}{key}": value for key, value in lora.trained(model.model.language_model).items()}
    for key, value in model.state_dict().items():
        if not key.startswith((_TEXT, "lm_head.")):
            state[key] = value
    return {key: value.detach().to(torch.float16).contiguous() for key, value in state.items()}


def save_adapter(model: Any, name: str, tower: Tower, file: str | Path) -> None:
    """Write a trained model's adapter.

    Args:
        model: with LoRA in its text model.
        name: one of NAMES.
        tower: the size that the model was built with.
        file: to write; atomic.
    """
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    facts = {"model": name, "tower": vars(tower)}
    # One entry: the file has several in any order.
    save_file(adapter_of(model), beside, metadata={"adapter": json.dumps(facts)})
    beside.replace(path)


def load_adapter(folder: str | Path) -> tuple[str, Tower, dict[str, torch.Tensor]]:
    """The model's name, the size of its tower and the tensors of an adapter folder.

    Raises:
        InputError: if it holds no adapter of one of NAMES.
    """
    file = Path(folder) / ADAPTER
    try:
        with safe_open(file, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["adapter"])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        name = facts["model"]
        tower = Tower(**facts["tower"])
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such adapter; `git checkout` restores a shipped one") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: not an adapter of this project: {error}; copy it again") from error
    if name not in NAMES:
        raise InputError(f"{file}: for the unknown model {name!r}; known: {', '.join(NAMES)}")
    return name, tower, tensors


def assembled(base: Base, name: str, tower: Tower, tensors: Mapping[str, torch.Tensor]) -> tuple[Any, Any]:
    """The model, updates added into its text model, and its processor."""
    model, processor = build(name, base, tower=tower)
    updates = {key.removeprefix(_LORA): value for key, value in tensors.items() if key.startswith(_LORA)}
    rest = {key: value.float() for key, value in tensors.items() if not key.startswith(_LORA)}
    missing, unexpected = model.load_state_dict(rest, strict=False)
    wrong = [key for key in missing if not key.startswith((_TEXT, "lm_head."))] + list(unexpected)
    if wrong:
        raise InputError(f"adapter of {name}: {wrong[0]} does not fit the model; use this version's adapter")
    try:
        lora.merge(model.model.language_model, updates)
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"adapter of {name}: {error} does not fit the base; use this version's adapter"
        ) from error
    return model.eval(), processor


def assemble(adapter: str | Path, out: str | Path, *, base: Base | None = None) -> None:
    """Write a checkpoint folder: float16 weights and processor, the same bytes every time.

    Args:
        adapter: folder of the adapter.
        out: folder to write, replaced as a whole when all is written.
        base: the language model; None: the installed package's.

    Raises:
        InputError: if base or adapter are not there or do not fit.
    """
    name, tower, tensors = load_adapter(adapter)
    model, processor = assembled(base or load_base(), name, tower, tensors)
    folder = Path(out)
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        model.to(torch.float16).save_pretrained(beside, max_shard_size="4GB")
        processor.save_pretrained(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
