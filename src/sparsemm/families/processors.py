"""Processors of families that also read videos, which transformers can only build with torchvision.

We read no videos. Without torchvision a subclass without the video processor replaces the stock processor. Images are
always prepared by transformers' PIL classes, so results do not depend on whether torchvision is installed.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor
from transformers.utils.import_utils import is_torchvision_available


@functools.cache
def without_video(stock: Any) -> Any:
    """The stock processor class without its video processor; it saves folders under the stock class's name."""

    def get_attributes(cls: Any) -> list[str]:  # what transformers builds, loads and saves a processor from
        return [part for part in stock.get_attributes() if part != "video_processor"]

    members = {"get_attributes": classmethod(get_attributes), "__module__": stock.__module__}
    return type(stock.__name__, (stock,), members)


def load_images_and_text(stock: Any, path: Path) -> Any:
    """The processor of a local folder: the stock class with torchvision, the one without video elsewhere."""
    whole = is_torchvision_available() and _has_video(path)
    return load_with_pil(stock if whole else without_video(stock), path)


def load_with_pil(processor_class: Any, path: Path) -> Any:
    """The processor of a local folder, with transformers' PIL class for its images."""
    processor = processor_class.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if is_torchvision_available() and hasattr(
        processor, "image_processor"
    ):  # else it is the PIL class already
        make: Any = AutoImageProcessor
        processor.image_processor = make.from_pretrained(
            path, local_files_only=True, backend="pil", trust_remote_code=False
        )
    return processor


def _has_video(path: Path) -> bool:
    """Whether the folder configures a video processor; one saved without it does not."""
    if (path / "video_preprocessor_config.json").is_file() or (path / "preprocessor_config.json").is_file():
        return True
    whole = path / "processor_config.json"
    return whole.is_file() and '"video_processor"' in whole.read_text(encoding="utf-8")
