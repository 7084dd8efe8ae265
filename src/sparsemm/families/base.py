"""What a family adapter offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel


class Family(Protocol):
    """How to load and ask the models of one `model_type`."""

    @property
    def name(self) -> str:
        """The config's `model_type`."""

    def load_model(self, path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
        """The model on the CPU, and the names of parameters that its files lack or that do not fit."""

    def load_processor(self, path: Path) -> Any:
        """The processor: images and text to model inputs."""

    def owns(self, processor: Any) -> bool:
        """Whether this processor is one of the family's."""
