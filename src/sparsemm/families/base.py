"""What a family adapter offers, and what most families have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from sparsemm.families.layout import Layout


class Family(Protocol):
    """How to load, ask and look into the models of one `model_type`."""

    @property
    def name(self) -> str:
        """The config's `model_type`."""

    def load_model(self, path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, list[str]]:
        """The model on the CPU, and the names of parameters that its files lack or that do not fit."""

    def load_processor(self, path: Path) -> Any:
        """The processor: images and text to model inputs."""

    def owns(self, processor: Any) -> bool:
        """Whether this processor is one of the family's."""

    def layout(self, source: Any, image_size: Sequence[int]) -> Layout:
        """Where the tokens of an (H, W) px image look, for a prompt with this one image."""

    def prefill_positions(
        self, model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`position_ids` as `generate` computes them, and the position of each row's first new token, int64 [B].

        inputs: what `generate` gets, with its attention_mask [B, T]. Nothing is kept on the model.
        """

    def decode_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """`position_ids` of one step for tokens at positions int64 [R]."""


class StockFamily:
    """A family served by transformers' own classes, named here and imported when they are needed."""

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
