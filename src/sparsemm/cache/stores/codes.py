"""Integer codes for blocks of keys and values: 8 or 4 bits, a step and a lowest value each, as KIVI groups them.

A block holds BLOCK tokens of one sequence, channel by channel. Keys share a step per channel, values one per
token, as Liu et al. chose (KIVI, ICML 2024, section 3); on an embedded checkpoint keys with a step per token
did a little better in 8 bits and a little worse in 4. Steps and lowest values are float16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BLOCK = 32  # tokens; even, as two 4-bit codes share a byte
_LARGEST = 65504.0  # of float16


@dataclass
class Codes:
    """codes uint8 [N, D, BLOCK * bits / 8], step and low float16 [N, D, 1] or [N, 1, BLOCK]."""

    codes: torch.Tensor
    step: torch.Tensor
    low: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(t.numel() * t.element_size() for t in (self.codes, self.step, self.low))

    def take(self, at: torch.Tensor) -> Codes:
        """The blocks at these indexes, int64, a copy."""
        return Codes(self.codes[at], self.step[at], self.low[at])

    def put(self, at: torch.Tensor, blocks: Codes) -> None:
        """Write blocks to these indexes, int64."""
        self.codes[at], self.step[at], self.low[at] = blocks.codes, blocks.step, blocks.low


def empty_codes(blocks: int, width: int, bits: int, dim: int, device: torch.device) -> Codes:
    """Codes of `blocks` blocks of zeros; `dim`: what a step is shared over, 1 channels, 2 tokens of the block."""
    shape = (blocks, 1, BLOCK) if dim == 1 else (blocks, width, 1)
    step, low = torch.zeros(2, *shape, dtype=torch.float16, device=device)
    codes = torch.zeros(blocks, width, BLOCK * bits // 8, dtype=torch.uint8, device=device)
    return Codes(codes, step, low)


def quantise(blocks: torch.Tensor, held: torch.Tensor, bits: int, dim: int) -> Codes:
    """Codes of blocks [N, D, BLOCK]; `held` bool [N, BLOCK] says which tokens there are: the others do not count.

    What comes back is within step / 2 + largest / 512 + 1e-5 of each held number, `largest` being the greatest
    magnitude that shares its step (the other parts are the rounding of step and low to float16, which resolves
    6e-8 and 2^-11 of a number), as long as no number exceeds float16.
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
    """float32 [N, D, BLOCK]."""
    return numbers_of(blocks.codes, bits) * blocks.step.float() + blocks.low.float()
