"""The protocol of a ranker, which orders the prompt tokens of a KV head, and what rankers share."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import torch

from sparsemm.errors import InputError
from sparsemm.methods import RANKINGS


@runtime_checkable
class Ranker(Protocol):
    """Orders the prompt tokens before the window: pure tensors, without a model. A frozen dataclass.

    Attributes:
        name: in labels, see `sparsemm.methods.RANKERS`.
        window: newest prompt tokens, which are always kept and therefore not ranked. A policy sets it to its own.
        sums: whether the values are shares of attention, at least 0, that may be summed and compared between heads.
        needs_image: whether `rank` needs to know the image tokens.
    """

    name: ClassVar[str]
    sums: ClassVar[bool]
    needs_image: ClassVar[bool]

    @property
    def window(self) -> int: ...

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
        """The value of every token before the window; higher is kept first, equals go by position.

        Args:
            query: [B, Hq, T, D] after RoPE.
            key: [B, Hkv, T, D] after RoPE.
            value: [B, Hkv, T, D].
            scaling: factor on the products of queries and keys.
            valid: bool [B, T], False at the pads of a left-padded batch; None without padding. A padded row must rank
                as it does alone.
            image: bool [B, T], True at image tokens; None unless `needs_image`.

        Returns:
            float32 [B, Hkv, max(T - window, 0)], -inf at pads and finite elsewhere.
        """


def check_settings(ranker: Ranker) -> None:
    """Raise InputError, which names the ranker, for a window below 1, an even kernel, another precision and so on."""
    name, fields = ranker.name, vars(ranker)
    if fields["window"] < 1:
        raise InputError(f"{name}: window is {fields['window']}: it must be at least 1 token")
    check_kernel(name, fields.get("kernel", 1))
    if fields.get("sinks", 0) < 0:
        raise InputError(f"{name}: sinks is {fields['sinks']}: it must be at least 0 tokens")
    check_precision(name, fields.get("precision", "float32"), key="precision")


def check_kernel(name: str, kernel: int) -> None:
    """Raise InputError, which names policy or ranker, unless the pooling kernel is odd and at least 1."""
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"{name}: kernel is {kernel}: the pooling kernel must be odd and at least 1")


def check_precision(name: str, precision: str, *, key: str) -> None:
    """Raise InputError, which names policy or ranker and its key, unless tokens can be ranked in this precision."""
    if precision not in RANKINGS:
        raise InputError(f"{name}: {key} is {precision!r}: use {' or '.join(RANKINGS)}")


def before_window(values: torch.Tensor, window: int, valid: torch.Tensor | None) -> torch.Tensor:
    """The values of the tokens before the window, -inf at pads.

    Args:
        values: float32 [B, Hkv, T].
        window: newest prompt tokens.
        valid: bool [B, T], or None.

    Returns:
        [B, Hkv, max(T - window, 0)].
    """
    past = max(values.shape[-1] - window, 0)
    values = values[..., :past]
    return values if valid is None else values.masked_fill(~valid[:, None, :past], float("-inf"))


def places(key: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Every token's place in its own prompt, pads not counted: int64 [B, T], negative at pads."""
    batch, _, total, _ = key.shape
    at = torch.arange(total, device=key.device).expand(batch, total)
    return at if valid is None else at - (~valid).sum(dim=-1, keepdim=True)
