"""Family: the interface of a model family, and StockFamily, the base of families with stock transformers classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.families.images import ImageLimits
from sparsemm.families.layout import Layout

# An image processor's bounds on an image's size or tiles.
_LIMITS = ("size", "image_grid_pinpoints", "crop_to_patches", "min_patches", "max_patches")


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

    def configure(self, processor: Any, rules: str | None, text_model: str, limits: ImageLimits) -> None:
        """Give a processor the chat format and image handling of a rule set.

        Args:
            processor: the family's, as loaded.
            rules: `paper` or `current`; None keeps the processor's own.
            text_model: the `model_type` of the text model.
            limits: what is set in place of the rule set's or the processor's own.

        Raises:
            InputError: for limits that the family does not have or that do not fit it.
        """

    def fit_model(self, model: PreTrainedModel, processor: Any) -> None:
        """Make a model's configuration agree with what its processor was configured to."""

    def image_limits(self, processor: Any) -> dict[str, Any]:
        """What bounds an image's size and tiles and what is done to it first; results record it."""

    def paper_limits(self, processor: Any) -> dict[str, Any]:
        """The same under the paper's rules; empty for a family that the paper does not use."""

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
            path,
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        model, info = loaded
        mismatched = [str(entry[0]) for entry in info["mismatched_keys"]]
        return model, sorted(info["missing_keys"]) + mismatched

    def configure(self, processor: Any, rules: str | None, text_model: str, limits: ImageLimits) -> None:
        """The processor's own chat format and images under every rule set."""
        for key, value in vars(limits).items():
            if value is not None:
                raise InputError(f"{key}: {self.name} has no such limit; leave the key out")

    def fit_model(self, model: PreTrainedModel, processor: Any) -> None:
        """Nothing: the model reads no limits."""

    def image_limits(self, processor: Any) -> dict[str, Any]:
        found = {}
        for key in _LIMITS:
            value = getattr(processor.image_processor, key, None)
            if value is not None:
                found[key] = value if isinstance(value, int | list) else dict(value)
        return found

    def paper_limits(self, processor: Any) -> dict[str, Any]:
        return {}

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
