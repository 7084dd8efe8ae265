"""Measure decode, prefill and memory of the three 7B shapes on one GPU: the whole of docs/performance in one command.

    python benchmarks/gpu_profile.py                          # up to 9.5 minutes; again: measures what is missing
    python benchmarks/gpu_profile.py --scores scores.json     # with the published head scores of LLaVA-NeXT-Vicuna-7B
    python benchmarks/gpu_profile.py --tiny --out tiny        # the same code on tiny shapes, CPU too

Every cell runs in a process of its own, the most telling ones first, and is written when it ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from gpu_cell import Cell, Settings, cell_row, measure_cell
from gpu_logits import compare_logits
from gpu_models import MODELS
from gpu_report import read_cells, write_report

from sparsemm.efficiency.floor import copy_bandwidth
from sparsemm.errors import InputError
from sparsemm.kernels.device import has_triton
from sparsemm.runtime.device_lease import list_devices
from sparsemm.runtime.forked import call_in_fork

LENGTHS = (2048, 4096, 8192, 16384, 32768)
POLICIES = ("fullkv", "sparsemm", "snapkv", "pyramidkv", "adakv")
TINY_LENGTHS = (160, 320)


def cells(tiny: bool = False) -> list[Cell]:
    """All cells, the most telling first: what the time does not suffice for is the least missed."""
    lengths = TINY_LENGTHS if tiny else LENGTHS
    long, pair, vicuna = lengths[-1], POLICIES[:2], MODELS[0]
    order = [Cell(vicuna, policy, long) for policy in pair]
    order += [Cell(vicuna, policy, tokens) for tokens in lengths[:-1] for policy in pair]
    order += [Cell(vicuna, policy, long, 8) for policy in pair]
    order += [Cell(vicuna, "fullkv", lengths[len(lengths) // 2], 8)]  # the longest does not fit 141 GB
    order += [
        Cell(model, policy, tokens) for model in MODELS[1:] for tokens in lengths[::-1] for policy in pair
    ]
    order += [
        Cell(model, policy, tokens, 0) for model in MODELS for tokens in (lengths[0], long) for policy in pair
    ]
    order += [Cell(vicuna, policy, tokens) for tokens in lengths[::-1] for policy in POLICIES[2:]]
    order += [
        Cell(model, policy, tokens, 8) for model in MODELS for tokens in lengths[::-1] for policy in pair
    ]
    for batch in (1, 8):
        order += [
            Cell(m, policy, tokens, batch) for m in MODELS for tokens in lengths for policy in POLICIES[2:]
        ]
    return list(dict.fromkeys(order))


def run(arguments: argparse.Namespace) -> None:
    """Measure what is missing while time lasts, then write the tables."""
    began, budget = time.monotonic(), 60 * arguments.minutes
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    # Not asked of torch, which would start CUDA: the forked processes could not use it.
    device = arguments.device or ("cuda" if list_devices() else "cpu")
    if device == "cpu" and not arguments.tiny:
        raise SystemExit("no GPU: the 7B shapes need one; --tiny runs the same code on a CPU")
    dtype = "float32" if device == "cpu" else "bfloat16"
    name = _ask("name") if device != "cpu" else "cpu"
    settings = Settings(
        device, name, dtype, tiny=arguments.tiny, scores=arguments.scores, triton=_triton(device)
    )
    if arguments.tiny:
        settings = dataclasses.replace(settings, budget=24, steps=6, repeats=2)
    bandwidth = call_in_fork(lambda: copy_bandwidth(torch.device(device)), "copy bandwidth")
    _write(out / "environment.json", _environment(name, bandwidth))
    logits, longest = out / "logits.json", 0.0
    if not logits.exists():
        tokens = TINY_LENGTHS[0] if arguments.tiny else LENGTHS[0]
        compared = {
            name: _apart(lambda name=name: compare_logits(name, tokens, settings), "logits")
            for name in MODELS
        }
        _write(logits, compared)
    measured = {(row["model"], row["policy"], row["input_tokens"], row["batch"]) for row in read_cells(out)}
    todo = [cell for cell in cells(arguments.tiny) if cell.key not in measured]
    todo = todo[: arguments.cells or len(todo)]
    for index, cell in enumerate(todo):
        if time.monotonic() - began + 1.5 * longest > budget:
            print(f"{len(todo) - index} cells left for another run of the same command", flush=True)
            break
        started = time.monotonic()
        row = _apart(lambda cell=cell: measure_cell(cell, settings), cell.name)
        row = cell_row(cell, settings, f"failed: {row}") if isinstance(row, str) else row
        longest = max(longest, time.monotonic() - started)
        with (out / "cells.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        latency = row.get("decode_ms_per_token")
        print(
            f"{cell.name}: {row['status']}{'' if latency is None else f', {latency:.3f} ms a token'}",
            flush=True,
        )
    write_report(out)


def _apart(work: Callable[[], dict[str, Any]], what: str) -> dict[str, Any] | str:
    """The result of a process of its own, or why there is none: a failure does not stop the others."""
    try:
        return call_in_fork(work, what)
    except (InputError, RuntimeError) as error:
        return str(error)


def _triton(device: str) -> bool:
    return has_triton() and (device != "cpu" or os.environ.get("TRITON_INTERPRET") == "1")


def _environment(device_name: str, bandwidth: float) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "copy_bandwidth_gb_s": bandwidth / 1e9}
    for package in ("torch", "triton", "transformers", "flash-attn", "flashinfer-python", "sparsemm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found |= {"cuda": torch.version.cuda, "device": device_name}
    found["driver"] = _ask("driver_version") if device_name != "cpu" else None
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found["revision"] = (
        subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or None
    )
    found["weights"] = "random, made on the device: speed and memory do not depend on them"
    return found


def _ask(what: str) -> str:
    asked = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()


def _write(path: Path, content: dict[str, Any]) -> None:
    half = path.with_suffix(".part")
    half.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    half.replace(path)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="docs/performance", help="folder of the result (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="begin no cell that would end later (%(default)s)"
    )
    parser.add_argument("--scores", help="head scores of LLaVA-NeXT-Vicuna-7B; synthetic ones without it")
    parser.add_argument("--device", help="cuda where there is one, else cpu (then --tiny)")
    parser.add_argument("--cells", type=int, help="at most so many cells")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the command itself")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(parse(sys.argv[1:]))
