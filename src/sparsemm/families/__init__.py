"""Model families: what differs between them, one file each."""

from __future__ import annotations

from typing import Any

from sparsemm.errors import InputError
from sparsemm.families.base import Family
from sparsemm.families.internvl import InternVL
from sparsemm.families.llava_next import LlavaNext
from sparsemm.families.llava_onevision import LlavaOnevision
from sparsemm.families.qwen2_5_vl import Qwen25VL
from sparsemm.families.qwen2_vl import Qwen2VL
from sparsemm.families.qwen3_vl import Qwen3VL

# Every family the project knows; a new one is a new file and one entry here.
FAMILIES: tuple[Family, ...] = (
    LlavaNext(),
    Qwen2VL(),
    Qwen25VL(),
    Qwen3VL(),
    LlavaOnevision(),
    InternVL(),
)


def family_of(source: Any) -> Family:
    """The family of a model, a config or a processor. Raises InputError for one that is not known."""
    kind = getattr(getattr(source, "config", source), "model_type", None)
    for family in FAMILIES:
        if family.name == kind or family.owns(source):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    said = type(source).__name__ if kind is None else f"model_type {kind!r}"
    raise InputError(f"{said} is not supported; known families: {known}")


__all__ = ["FAMILIES", "Family", "family_of"]
