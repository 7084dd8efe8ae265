"""Family: the interface of a model family, and StockFamily, the base of families with stock transformers classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from sparsemm.families.layout import Layout


class Family(Protocol):
    """What depends on the `model_type`: loading, image layout and positions."""

    @property
    def name(self) -> str:
        """The config's `model_type`."""

    def load_model(self, path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
        """Load the model on the CPU.

        Returns:
            The model, and the names of parameters that are missing from its files or have another shape.
        """

    def load_processor(self, path: Path) -> Any:
        """Load the processor, which turns images and text into model inputs."""

    def owns(self, processor: Any) -> bool:
        """Whether this processor is one of the family's."""

    def layout(self, source: Any, image_size: Sequence[int]) -> Layout:
        """Which pixels each token of an (H, W) px image covers, for a prompt with this one image."""

    def prefill_positions(
        self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`position_ids` as `generate` computes them; the model's state is neither read nor changed.

        Args:
            model: the model.
            inputs: what `generate` gets, with its attention_mask [B, T].

        Returns:
            The positions, and the position of each row's first new token, int64 [B].
        """

    def decode_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """`position_ids` of one step for tokens at positions int64 [R]."""


class StockFamily:
    """A family with stock transformers classes, given by name and imported when they are used."""

    name: str
    model_class: str
    processor_class: str

    def load_model(self, path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
        loaded = stock(self.model_class).from_pretrained(
            path, dtype=dtype, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
        model, info = loaded
        mismatched = [str(entry[0]) for entry in info["mismatched_keys"]]
        return model, sorted(info["missing_keys"]) + mismatched

    def owns(self, processor: Any) -> bool:
        return any(kind.__name__ == self.processor_class for kind in type(processor).__mro__)

    def prefill_positions(
        self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens counted along the row without its pads, [B, T]; pads are at 0."""
        return text_positions(inputs["attention_mask"])

    def decode_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """[R, 1]."""
        return positions[:, None]


def stock(name: str) -> Any:
    """A class of transformers by its name."""
    import transformers

    return getattr(transformers, name)


def text_positions(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions [B, T] of the tokens of a left padded batch, pads at 0, and the number of tokens [B]."""
    return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0), mask.sum(-1).long()
