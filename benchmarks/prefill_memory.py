"""Memory of one prefill and of the cache after it, measured in a child process: full cache against compressed.

    python benchmarks/prefill_memory.py [--tokens 2048] [--budget 128] [--json FILE] [--device cuda]

The model is a random LLaVA-NeXT (real class, 24 Llama layers of 16 heads of 64, little else), so that the full cache
of one prompt is some hundred MB. Each cell is a process of its own: "plain" is transformers' own cache, the others are
compress(...). CPU: resident bytes of the process (/proc), as growth over what it held before the prefill; memory that
was freed is given back to the kernel first. CUDA: bytes that torch allocated.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

CELLS = ("plain", "fullkv", "snapkv", "snapkv-int8", "snapkv-int4")
MIB = 1 << 20


def build_model(device: str) -> Any:
    """A random LLaVA-NeXT with a small vision tower, narrow MLPs and a large cache: 24 layers, 16 heads of 64."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    text = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        head_dim=64,
        max_position_embeddings=65536,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=3,
        image_grid_pinpoints=[[32, 64], [64, 32]],
        image_seq_length=16,
    )
    torch.manual_seed(0)
    model = LlavaNextForConditionalGeneration(config).eval().to(device)
    model.generation_config.eos_token_id = None
    return model


def release() -> None:
    """Give freed memory back, so that what is resident is what is held."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def held(device: str) -> int:
    """Bytes that this process holds now: allocated by torch on CUDA, resident elsewhere."""
    import torch

    release()
    if device == "cuda":
        return int(torch.cuda.memory_allocated())
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def measure(cell: str, tokens: int, budget: int, device: str) -> dict[str, Any]:
    """One cell, in this process: growth in MiB at the peak of a prefill of `tokens` and after it."""
    import torch

    from sparsemm import FullKV, SnapKV, compress
    from sparsemm.runtime.peak_memory import PeakMemory

    model = build_model(device)
    policy = FullKV() if cell == "fullkv" else SnapKV(budget)
    storage = cell.partition("-")[2] or "auto"

    def prefill(length: int) -> tuple[Any, int]:
        ids = torch.arange(length, device=device)[None] % 500 + 4
        options = {"max_new_tokens": 2, "do_sample": False, "return_dict_in_generate": True}
        with nullcontext() if cell == "plain" else compress(model, policy, storage=storage) as run:
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
            cache = out.past_key_values
            if run is not None:
                return cache, run.cache_bytes
            return cache, sum(t.numel() * t.element_size() for s in cache.layers for t in (s.keys, s.values))

    prefill(64)  # libraries and tables are there before anything is measured
    before = held(device)
    with PeakMemory(torch.device(device)) as peak:
        cache, cache_bytes = prefill(tokens)
    after = held(device)
    del cache
    return {
        "cell": cell,
        "tokens": tokens,
        "budget": None if cell in ("plain", "fullkv") else budget,
        "device": device,
        "peak_mib": round((peak.bytes - before) / MIB, 1),
        "after_mib": round((after - before) / MIB, 1),
        "cache_mib": round(cache_bytes / MIB, 1),
        "model_mib": round(before / MIB, 1),
    }


def apart(cell: str, given: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a new process."""
    options = ["--tokens", str(given.tokens), "--budget", str(given.budget), "--device", given.device]
    command = [sys.executable, __file__, "--cell", cell, *options]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(say: Callable[..., None] = print) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--budget", type=int, default=128)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--cell", choices=CELLS, help="measure this one in this process and print it as JSON")
    given = parser.parse_args()
    if given.cell:
        say(json.dumps(measure(given.cell, given.tokens, given.budget, given.device)))
        return
    rows = []
    say(
        f"{given.tokens} tokens, budget {given.budget}, {given.device}; MiB over the process before the prefill"
    )
    say(f"{'cell':14s} {'peak':>8s} {'after':>8s} {'cache':>8s}")
    for cell in CELLS:
        rows.append(row := apart(cell, given))
        say(f"{cell:14s} {row['peak_mib']:8.1f} {row['after_mib']:8.1f} {row['cache_mib']:8.1f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
