"""Quantisation of blocks of keys and values to 8 or 4 bits, with a step and a lowest value per group, as in KIVI.

A block holds BLOCK tokens of one sequence, channel by channel. Keys have a step per channel, values one per token (Liu
et al., KIVI, ICML 2024, section 3); on an embedded checkpoint keys with a step per token were slightly better in 8 bits
and slightly worse in 4. Steps and lowest values are float16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BLOCK = 32  # tokens; even, as two 4-bit codes share a byte
_LARGEST = 65504.0  # of float16


@dataclass
class Codes:
    """N quantised blocks: a number is code * step + low.

    Attributes:
        codes: uint8 [N, D, BLOCK * bits / 8].
        step: float16 [N, D, 1] (per channel) or [N, 1, BLOCK] (per token).
        low: as `step`.
    """

    codes: torch.Tensor
    step: torch.Tensor
    low: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self.codes.nbytes + self.step.nbytes + self.low.nbytes

    def take(self, at: torch.Tensor) -> Codes:
        """The blocks at these indexes, int64, a copy."""
        return Codes(self.codes[at], self.step[at], self.low[at])

    def put(self, at: torch.Tensor, blocks: Codes) -> None:
        """Write blocks to these indexes, int64."""
        self.codes[at], self.step[at], self.low[at] = blocks.codes, blocks.step, blocks.low


def empty_codes(blocks: int, width: int, bits: int, dim: int, device: torch.device) -> Codes:
    """Codes of `blocks` blocks of zeros; `dim` is the dimension that a step is shared over: 1 channels, 2 tokens."""
    shape = (blocks, 1, BLOCK) if dim == 1 else (blocks, width, 1)
    step, low = torch.zeros(2, *shape, dtype=torch.float16, device=device)
    codes = torch.zeros(blocks, width, BLOCK * bits // 8, dtype=torch.uint8, device=device)
    return Codes(codes, step, low)


def quantise(blocks: torch.Tensor, held: torch.Tensor, bits: int, dim: int) -> Codes:
    """Codes of the numbers `blocks` [N, D, BLOCK].

    The error of a dequantised number is at most step / 2 + largest / 512 + 1e-5, where `largest` is the greatest
    magnitude that shares its step, as long as no number exceeds float16. The last two terms are the rounding of step
    and low to float16 (resolution 6e-8 and 2^-11 of a number).

    Args:
        blocks: keys or values, zeros or anything else where no token is.
        held: bool [N, BLOCK], the slots with a token; the others are ignored.
        bits: of a code, 8 or 4.
        dim: the dimension that a step is shared over: 1 channels, 2 tokens.
    """
    numbers, there = blocks.float(), held.unsqueeze(1)
    low = numbers.masked_fill(~there, float("inf")).amin(dim, keepdim=True)
    high = numbers.masked_fill(~there, float("-inf")).amax(dim, keepdim=True)
    empty = low > high
    low = low.masked_fill(empty, 0.0).clamp(-_LARGEST, _LARGEST).half()
    high = high.masked_fill(empty, 0.0)
    levels = 2**bits - 1
    step = ((high - low.float()) / levels).clamp(0, _LARGEST).half()
    divisor = step.float()
    divisor = torch.where(divisor > 0, divisor, torch.ones_like(divisor))
    codes = ((numbers - low.float()) / divisor).round_().clamp_(0, levels).masked_fill_(~there, 0.0)
    codes = codes.to(torch.uint8)
    if bits == 4:
        codes = codes[..., : BLOCK // 2] | (codes[..., BLOCK // 2 :] << 4)
    return Codes(codes, step, low)


def numbers_of(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The codes themselves as float32 [N, D, BLOCK], not yet scaled."""
    if bits == 4:
        codes = torch.cat((codes & 15, codes >> 4), -1)
    return codes.float()


def dequantise(blocks: Codes, bits: int) -> torch.Tensor:
    """The numbers, float32 [N, D, BLOCK]."""
    return numbers_of(blocks.codes, bits) * blocks.step.float() + blocks.low.float()
