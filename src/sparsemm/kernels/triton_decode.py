"""Ragged decode attention in Triton: every (row, KV head) is a sequence of its own length in one flat storage.

Importing this module needs triton. There are two launches (triton_split.py). In the first, each program handles one
chunk of one sequence, so that the work of one head with 30,000 tokens and 250 short heads is balanced; the second
merges a sequence's chunks by their log-sum-exp. The first launch also writes the new token. Lengths are device tensors
that the kernels advance, so the launch arguments are the same in every step, as a CUDA graph needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton

from sparsemm.errors import InputError
from sparsemm.kernels.device import on_device_of
from sparsemm.kernels.triton_split import combine, split_group, split_one

WIDTHS = (64, 80, 96, 128)  # head sizes that are tested; any other up to 256 works too
_CHUNKS = (64, 1024)  # tokens of one program: least and most
_PROGRAMS_PER_PROCESSOR = 8  # target, so that no multiprocessor idles at the end
_BLOCK_BYTES = 64  # tokens of a block * bytes of a number: a larger block does not fit the registers
_MERGED = (16, 64, 128)  # chunks merged at once: the first that holds the longest sequence's


@dataclass(frozen=True)
class WorkList:
    """Which program reads which chunk of which sequence, for all lengths up to the sequences' capacities.

    Attributes:
        sequence: int32 [W], the sequence of each program; whole chunks first.
        chunk: int32 [W], the chunk of each program.
        first: int32 [S], index of a sequence's first partial result.
        tokens: tokens of a chunk.
        merged: chunks of a sequence that are merged at once.
    """

    sequence: torch.Tensor
    chunk: torch.Tensor
    first: torch.Tensor
    tokens: int
    merged: int


class Sequences(NamedTuple):
    """Keys and values of S = R * Hkv sequences in flat storage, row-major.

    Attributes:
        keys: [slots, D].
        values: [slots, D].
        starts: int64 or int32 [S], slot of a sequence's first token.
        lengths: int32 [S], tokens stored; `decode` advances it.
        used: int32 [S], scratch.
        work: built from capacities that no length may exceed.
    """

    keys: torch.Tensor
    values: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor
    used: torch.Tensor
    work: WorkList


def work_list(capacities: Sequence[int], device: torch.device) -> WorkList:
    """The programs of one decode step for sequences of at most these lengths."""
    tokens = chunk_tokens(sum(capacities), processors(device))
    most = torch.tensor(capacities, dtype=torch.int32)
    counts = (most + tokens - 1) // tokens
    first = counts.cumsum(0, dtype=torch.int32) - counts
    sequence = torch.repeat_interleave(torch.arange(len(most), dtype=torch.int32), counts)
    chunk = torch.arange(len(sequence), dtype=torch.int32) - first[sequence]
    # Longest work first: the programs that start last are then short.
    order = (most[sequence] - chunk * tokens).clamp(max=tokens).argsort(descending=True, stable=True)
    # One copy to the device: each one synchronises, at every layer of a prefill.
    tables = torch.cat([sequence[order], chunk[order], first]).to(device)
    work, longest = len(sequence), max(counts.tolist(), default=0)
    merged = next((size for size in _MERGED if longest <= size), _MERGED[-1])
    return WorkList(tables[:work], tables[work : 2 * work], tables[2 * work :], tokens, merged)


def chunk_tokens(total: int, units: int) -> int:
    """Tokens of a chunk when `total` tokens are divided among `units` multiprocessors: a power of two."""
    aimed = max(1, total // (units * _PROGRAMS_PER_PROCESSOR))
    return min(max(1 << (aimed - 1).bit_length(), _CHUNKS[0]), _CHUNKS[1])


def processors(device: torch.device) -> int:
    """Multiprocessors of a CUDA device; elsewhere 1."""
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def decode(
    query: torch.Tensor,
    stored: Sequences,
    scaling: float,
    new: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention of one query token a row over its own keys and values, [R, Hq, D].

    The last dimension of every tensor is contiguous. Nothing is copied to the host; sums are in float32.

    Args:
        query: [R, Hq, D].
        stored: keys and values; the caller ensures free slots for the new token.
        scaling: factor on the products of queries and keys.
        new: keys and values [R, Hkv, D] of the token itself: written at start + length and attended to; `lengths`
            grows by one.

    Raises:
        InputError: for a head size above 256 or another dtype than float16, bfloat16 and float32.
    """
    keys, values, starts, lengths, used, work = stored
    rows, query_heads, width = query.shape
    heads = len(lengths) // rows
    group = query_heads // heads
    if width > 256 or query.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise InputError(
            f"the Triton kernel takes head sizes up to 256 in float16, bfloat16 or float32, got {width}"
            f" in {query.dtype}; use the torch store"
        )
    sizes = {"WIDTH": width, "PADDED": max(16, triton.next_power_of_2(width)), "CHUNK": work.tokens}
    split, grouped = split_one, {}
    if group > 1:
        split, grouped = split_group, {"GROUP": group, "ROWS": max(16, triton.next_power_of_2(group))}
    key, value = new if new is not None else (query, query)
    out = torch.empty((rows, query_heads, width), dtype=query.dtype, device=query.device)
    parts = len(work.sequence)
    part_out = torch.empty((parts, group, width), dtype=torch.float32, device=query.device)
    part_lse = torch.empty((parts, group), dtype=torch.float32, device=query.device)
    with on_device_of(query):
        if parts:
            split[(parts,)](
                query,
                key,
                value,
                keys,
                values,
                starts,
                lengths,
                used,
                work.sequence,
                work.chunk,
                work.first,
                part_out,
                part_lse,
                scaling,
                *(stride for tensor in (query, key, value) for stride in tensor.stride()[:2]),
                HEADS=heads,
                BLOCK=_BLOCK_BYTES // query.element_size(),
                FRESH=int(new is not None),
                **sizes,
                **grouped,
                num_warps=4,
            )
        combine[(len(lengths), group)](
            part_out,
            part_lse,
            lengths,
            used,
            work.first,
            out,
            GROUP=group,
            **sizes,
            MERGED=work.merged,
            num_warps=8 if work.merged > 64 else 4,
        )
    return out
