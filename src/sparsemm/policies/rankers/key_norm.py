"""KeyNorm (arXiv 2406.11430): tokens whose keys are short first, as those get the most attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sparsemm.policies.rankers.base import before_window, check_settings


@dataclass(frozen=True)
class KeyNorm:
    """A token's value is minus the Euclidean norm of its key.

    Attributes:
        window: newest prompt tokens, always kept.
    """

    window: int = 32
    name: ClassVar[str] = "key_norm"
    sums: ClassVar[bool] = False
    needs_image: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

    def rank(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scaling: float,
        valid: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Ranker.rank`."""
        norm = torch.linalg.vector_norm(key, dim=-1, dtype=torch.float32)
        return before_window(-norm, self.window, valid)
