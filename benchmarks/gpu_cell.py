"""One cell of the GPU profile: one model's shape, policy, prompt length and batch, measured in a process of its own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gpu_kernels import kernel_rows
from gpu_models import build_model, build_prompt
from gpu_products import product_rows

from sparsemm import HeadScores, make_policy
from sparsemm.efficiency.measurement import LARGEST, Measured, MeasureSettings, TimedPrefill, measure
from sparsemm.efficiency.profile import as_profile
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.models.loading import shape
from sparsemm.runtime.clock import timed


@dataclass(frozen=True)
class Cell:
    """What is measured; batch 0 is the largest that fits."""

    model: str
    policy: str
    tokens: int
    batch: int = 1

    @property
    def key(self) -> tuple[str, str, int, str]:
        return self.model, self.policy, self.tokens, str(self.batch or LARGEST)

    @property
    def name(self) -> str:
        return "-".join(str(part) for part in self.key)


@dataclass(frozen=True)
class Settings:
    """How all cells are measured."""

    device: str
    device_name: str
    dtype: str
    tiny: bool = False
    budget: int = 256
    steps: int = 100
    repeats: int = 5
    scores: str | None = None
    triton: bool = False  # whether the Triton store works here
    products_at: tuple[int, ...] = (2048,)  # prompt lengths at which the matrix products are timed alone too
    kernels: tuple[str, ...] = field(default=("ours", "sdpa", "varlen", "flash_attn", "flashinfer"))


def measure_cell(cell: Cell, settings: Settings) -> dict[str, Any]:
    """The cell's row; memory that runs out is a result."""
    started = time.perf_counter()
    try:
        measured = _measure(cell, settings, torch.device(settings.device))
        row = cell_row(cell, settings, measured) | measured.extras
    except torch.OutOfMemoryError as error:
        row = cell_row(cell, settings, "out of memory") | {"error": str(error).splitlines()[0]}
    return row | {"cell_s": time.perf_counter() - started}


def cell_row(cell: Cell, settings: Settings, measured: Measured | str) -> dict[str, Any]:
    """A row of kind `profile`, as JSON, with the model and its "repeats", rows of kind `efficiency`."""
    budget = 0 if cell.policy == "fullkv" else settings.budget
    where = {"policy": cell.policy, "budget": budget, "input_tokens": cell.tokens}
    about = {
        "batch": cell.key[-1],
        "dtype": settings.dtype,
        "weights": "random",
        "device": settings.device_name,
    }
    repeats, summary = (
        json.loads(frame.to_json(orient="records", double_precision=15))
        for frame in as_profile(measured, where, about)
    )
    found = {name: value for name, value in summary[0].items() if value is not None}
    return {"model": cell.model, **found, "repeats": repeats}


def _measure(cell: Cell, settings: Settings, device: torch.device) -> Measured:
    model = build_model(cell.model, device, getattr(torch, settings.dtype), tiny=settings.tiny)
    policy, source = _policy(cell, settings, model)
    inputs, image_tokens = build_prompt(model, cell.tokens)

    def inspect(start: TimedPrefill, loop: GreedyLoop) -> dict[str, Any]:
        found = {"image_tokens": image_tokens, "head_scores": source}
        found |= _compare(model, start, loop, settings, device)
        found["kernels"] = kernel_rows(start.cache, model, settings, timed)
        if (cell.policy, cell.batch) == ("sparsemm", 1) and cell.tokens in settings.products_at:
            found["kernels"] += product_rows(model, settings, timed)
        return found

    return measure(
        model,
        inputs,
        policy,
        MeasureSettings(
            batch=cell.batch or LARGEST,
            new_tokens=settings.steps,
            repeats=settings.repeats,
            storage="triton" if settings.triton else "auto",
        ),
        warm_inputs=inputs,
        inspect=inspect,
    )


def _compare(
    model: Any, start: TimedPrefill, graph: GreedyLoop, settings: Settings, device: torch.device
) -> dict[str, Any]:
    """The loop's tokens, as a graph, beside those of eager steps, plain and fused; and what an eager step takes."""
    few = min(16, settings.steps)
    tokens = graph.run(few)
    graph.rewind()
    eager = GreedyLoop(model, start.cache, start.token, start.positions, graph=False)
    row: dict[str, Any] = {"graph_equals_eager": bool(torch.equal(tokens, eager.run(few)))}
    eager.rewind()
    row["eager_ms_per_token"] = 1000 * timed(device, lambda: eager.run(few)) / few
    eager.rewind()
    row["fused"] = graph.fusion.__name__ if graph.fusion else "no"
    if graph.fusion:  # fused kernels sum in another order: in 16 bits a near tie may fall the other way
        with graph.fusion(model):
            row["graph_equals_fused_eager"] = bool(torch.equal(tokens, eager.run(few)))
        eager.rewind()
    return row


def _policy(cell: Cell, settings: Settings, model: Any) -> tuple[Any, str]:
    """The cell's policy and where its head scores come from."""
    sizes = shape(model)
    scores, source = None, "none"
    if cell.policy == "sparsemm":
        source = "synthetic: exponential in rank, the top 5 % hold 53 %, placed at random"
        # The published scores' top 1, 5 and 10 % hold 19, 55 and 77 %; this law's 14, 53 and 78 %.
        heads = sizes.num_layers * sizes.num_kv_heads
        values = np.exp(-np.arange(heads) / (0.066 * heads))
        values = np.random.default_rng(0).permutation(values / values.sum())
        scores = values.reshape(sizes.num_layers, sizes.num_kv_heads)
        if settings.scores:
            published = HeadScores.load(settings.scores)
            if published.values.shape == (sizes.num_layers, sizes.num_heads) and "vicuna" in cell.model:
                scores, source = published, "file: published scores of LLaVA-NeXT-Vicuna-7B"
    window = 8 if settings.tiny else 32
    return make_policy(cell.policy, budget=settings.budget, window=window, scores=scores), source
