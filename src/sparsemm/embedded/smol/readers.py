"""The states of one language model that the emergence of visual heads is asked of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsemm.embedded.smol.architecture import build
from sparsemm.embedded.smol.assemble import assembled, load_adapter
from sparsemm.embedded.smol.base import load_base
from sparsemm.errors import InputError
from sparsemm.models.loading import load_model

# base: as it was published; text_stage: after it was trained on pages as text; seeing: after it learned to see;
# image: the same model, reading images.
READINGS = ("base", "text_stage", "seeing", "image")


def load_reader(
    reading: str,
    checkpoint: str | Path,
    adapter: str | Path,
    text_adapter: str | Path | None = None,
    *,
    device: str = "cpu",
) -> tuple[Any, Any]:
    """A model in one of its states, in float32, and its processor.

    The first two have a vision tower that nobody asks: so all states have the same classes and the same heads.

    Args:
        reading: one of READINGS.
        checkpoint: folder that the model that sees was assembled into.
        adapter: folder of its adapter.
        text_adapter: folder of the adapter after the text stage.
        device: of the model.

    Raises:
        InputError: for an unknown reading, a missing adapter, or a base that is not installed.
    """
    if reading not in READINGS:
        raise InputError(f"reading {reading!r} is unknown; use one of {', '.join(READINGS)}")
    if reading in ("seeing", "image"):
        loaded = load_model(checkpoint, device=device, dtype="float32")
        return loaded.model, loaded.processor
    if reading == "base":
        name, tower, _ = load_adapter(adapter)
        model, processor = build(name, load_base(), tower=tower)
    elif text_adapter is None:
        raise InputError("reading text_stage: no adapter of that stage; give models.<name>.text_adapter")
    else:
        model, processor = assembled(load_base(), *load_adapter(text_adapter))
    return model.eval().to(device), processor
