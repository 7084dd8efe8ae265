"""Model families: what differs between them, one file each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsemm.documents.boxes import check_image_size
from sparsemm.errors import InputError
from sparsemm.families.base import Family
from sparsemm.families.internvl import InternVL
from sparsemm.families.layout import Layout
from sparsemm.families.llava_next import LlavaNext
from sparsemm.families.llava_onevision import LlavaOnevision
from sparsemm.families.qwen2_5_vl import Qwen25VL
from sparsemm.families.qwen2_vl import Qwen2VL
from sparsemm.families.qwen3_vl import Qwen3VL

# All supported families; a new one is a new file and one entry here.
FAMILIES: tuple[Family, ...] = (
    LlavaNext(),
    Qwen2VL(),
    Qwen25VL(),
    Qwen3VL(),
    LlavaOnevision(),
    InternVL(),
)


def family_of(source: Any) -> Family:
    """The family of a model, a config or a processor. Raises InputError for an unknown one."""
    kind = getattr(getattr(source, "config", source), "model_type", None)
    for family in FAMILIES:
        if family.name == kind or family.owns(source):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    said = type(source).__name__ if kind is None else f"model_type {kind!r}"
    raise InputError(f"{said} is not supported; known families: {known}")


def make_layout(source: Any, image_size: Sequence[int]) -> Layout:
    """The layout of an image's tokens.

    Args:
        source: a processor, or a config of LLaVA-NeXT or LLaVA-OneVision.
        image_size: (H, W) of the original image in px.

    Raises:
        InputError: for an image of zero area or a source of an unknown family.
    """
    try:
        family = family_of(source)
    except InputError as error:
        raise InputError(
            f"{type(source).__name__}: its layout is not known; give a processor of a supported family"
        ) from error
    return family.layout(source, check_image_size(image_size))


__all__ = ["FAMILIES", "Family", "family_of", "make_layout"]
