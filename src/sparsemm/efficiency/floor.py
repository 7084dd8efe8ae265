"""The lower bound of a decode step's time: the bytes that it must read, and the bandwidth of the device."""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.ragged import RaggedCache
from sparsemm.runtime.clock import timed

_COPIED = {"cuda": 1 << 32, "cpu": 1 << 26}  # bytes of one copy: much larger than the device's caches
_FREE_SHARE = 0.85  # of the free memory that the caches of the largest batch may take
MOST_ROWS = 512  # of the largest batch: host-side tables grow with it


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes of the weights that one decode step reads: the text layers, the last norm and the output head."""
    text, head = model.get_decoder(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    looked_up = {id(parameter) for parameter in text.get_input_embeddings().parameters()}
    read = {id(p): p for p in text.parameters() if id(p) not in looked_up}
    read |= {id(p): p for p in head.parameters()}
    return sum(p.numel() * p.element_size() for p in read.values())


def moved_bytes(cache: RaggedCache, weights: int, new_tokens: int) -> int:
    """Bytes that a step must read, averaged over `new_tokens` steps.

    These are the weights, the kept tokens as they are stored (`cache_bytes`), and half of the tokens that the steps
    append.
    """
    grown = sum(layer.filled().bytes_of(torch.ones_like(layer.kept)) for layer in cache.ragged)
    return weights + cache.cache_bytes + grown * new_tokens // 2


def copy_bandwidth(device: torch.device) -> float:
    """Bandwidth of a copy on the device, reads and writes, in bytes per second: median of ten after two warm-ups."""
    count = min(_COPIED.get(device.type, _COPIED["cpu"]), free_bytes(device) // 4)
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = [timed(device, lambda: target.copy_(source)) for _ in range(12)][2:]
    return 2 * count / statistics.median(times)


def largest_batch(cache: RaggedCache, device: torch.device) -> int:
    """How many rows of the size of `cache` fit most of the free memory beside it; at most MOST_ROWS, at least one."""
    fitting = int(_FREE_SHARE * free_bytes(device) / max(1, cache.reserved_bytes))
    return max(1, min(MOST_ROWS, fitting))


def free_bytes(device: torch.device) -> int:
    """Free memory in bytes: of a GPU after torch's cached blocks are released, of the host as Linux reports it.

    On other hosts 1 GiB is assumed.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    memory = Path("/proc/meminfo")
    for line in memory.read_text(encoding="ascii").splitlines() if memory.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 30
