"""Processors of families that also read videos, which transformers can only build with torchvision.

Nothing here reads a video, and images need PIL alone. Where the stock processor cannot be built, a subclass takes its
place that differs in one thing: it has no video processor. Images are always prepared by transformers' PIL classes, so
that a result does not depend on whether torchvision is installed.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

from transformers.utils import is_torchvision_available


@functools.cache
def without_video(stock: type[Any]) -> type[Any]:
    """The stock processor class less its video processor; it saves folders under the stock class's name."""

    def __init__(self: Any, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
        stock.__init__(self, image_processor, tokenizer, **options)  # type: ignore[misc]

    # transformers reads from the signature what parts a processor has and what of it is saved
    whole = inspect.signature(stock.__init__)  # type: ignore[misc]
    parts = [part for name, part in whole.parameters.items() if name != "video_processor"]
    __init__.__signature__ = whole.replace(parameters=parts)  # type: ignore[attr-defined]
    return type(stock.__name__, (stock,), {"__init__": __init__, "__module__": stock.__module__})


def load_images_and_text(stock: type[Any], path: Path) -> Any:
    """The processor of a local folder: the stock class with torchvision, the one without video elsewhere."""
    if is_torchvision_available() and _has_video(path):
        return stock.from_pretrained(path, local_files_only=True, backend="pil")
    return without_video(stock).from_pretrained(path, local_files_only=True, backend="pil")


def _has_video(path: Path) -> bool:
    """Whether the folder says how videos are read; one saved without a video processor does not."""
    if (path / "video_preprocessor_config.json").is_file() or (path / "preprocessor_config.json").is_file():
        return True
    whole = path / "processor_config.json"
    return whole.is_file() and '"video_processor"' in whole.read_text(encoding="utf-8")
