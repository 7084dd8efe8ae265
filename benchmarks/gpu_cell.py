"""One cell of the GPU profile: one model's shape, policy, prompt length and batch, measured in a process of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gpu_kernels import kernel_rows
from gpu_models import build_model, build_prompt

from sparsemm import HeadScores, make_policy
from sparsemm.attention import switched
from sparsemm.cache import RaggedCache
from sparsemm.compress import chooser
from sparsemm.efficiency import prefill
from sparsemm.fusing import fused
from sparsemm.greedy import GreedyLoop
from sparsemm.models import shape

MOST_ROWS = 512  # of the largest batch
FREE_SHARE = 0.85  # of the free memory that its caches may take


@dataclass(frozen=True)
class Cell:
    """What is measured; batch 0 is the largest that fits."""

    model: str
    policy: str
    tokens: int
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.model}-{self.policy}-{self.tokens}-{self.batch or 'largest'}"


@dataclass(frozen=True)
class Settings:
    """How all cells are measured."""

    device: str
    dtype: str
    tiny: bool = False
    budget: int = 256
    steps: int = 100
    repeats: int = 5
    scores: str | None = None
    triton: bool = False  # whether the Triton store works here
    bandwidth: float = 0.0  # bytes a second, measured
    kernels: tuple[str, ...] = field(default=("ours", "sdpa", "varlen", "flash_attn", "flashinfer"))


def measure(cell: Cell, settings: Settings) -> dict[str, Any]:
    """One row of the result, and under "kernels" one row a kernel. Memory that runs out is a result."""
    started = time.perf_counter()
    try:
        row = _measure(cell, settings)
    except torch.OutOfMemoryError as error:
        row = {"status": "out of memory", "error": str(error).splitlines()[0]}
    base = {"model": cell.model, "policy": cell.policy, "tokens": cell.tokens, "batch": cell.batch}
    base |= {"status": "ok", "weights": "random", "dtype": settings.dtype, "budget": settings.budget}
    return base | row | {"cell_s": time.perf_counter() - started}


@torch.no_grad()
def _measure(cell: Cell, settings: Settings) -> dict[str, Any]:
    device = torch.device(settings.device)
    model = build_model(cell.model, device, getattr(torch, settings.dtype), tiny=settings.tiny)
    policy, source = _policy(cell, settings, model)
    inputs, image_tokens = build_prompt(model, cell.tokens)
    row: dict[str, Any] = {"image_tokens": image_tokens, "head_scores": source, "steps": settings.steps}
    storage = "triton" if settings.triton else "auto"
    with switched(model):
        prefill(model, build_prompt(model, min(cell.tokens, 2048))[0], policy, 4, storage=storage)  # warms up
        _reset_peak(device)
        choose: list[float] = []
        layers = shape(model).num_layers
        timed = [_timed(chooser(policy, layer, layers), choose, device) for layer in range(layers)]
        start = _now(device)
        cache, token, positions = prefill(
            model, inputs, policy, settings.steps, choosers=timed, storage=storage
        )
        row["prefill_s"] = _now(device) - start
        row["choose_s"] = sum(choose)
        row |= _peaks(device, "prefill")
        batch = cell.batch or _largest(cache, device)
        if batch > 1:  # the same prompt in every row: prefilled once, its cache copied
            cache = RaggedCache.combine([cache] * batch, reserve=settings.steps)
            token, positions = token.expand(batch, 1), _rows(positions, batch)
        row |= {"rows": batch, "cache_bytes": cache.cache_bytes, "reserved_cache_bytes": cache.reserved_bytes}
        row["kept_tokens"] = float(cache.kept.double().mean())
        few = min(16, settings.steps)
        eager = GreedyLoop(model, cache, token, positions, graph=False)
        tokens = eager.run(few)
        eager.rewind()
        row["eager_ms_per_token"] = 1000 * _time(device, lambda: eager.run(few)) / few
        eager.rewind()
        loop = GreedyLoop(model, cache, token, positions)
        graph_tokens = loop.run(few)
        row["graph_equals_eager"] = bool(torch.equal(graph_tokens, tokens))
        if (
            settings.triton
        ):  # fused kernels sum in another order: in 16 bits a near tie may fall the other way
            eager.rewind()
            with fused(model):
                row["graph_equals_fused_eager"] = bool(torch.equal(graph_tokens, eager.run(few)))
        times = []
        for _ in range(settings.repeats):
            loop.rewind()
            times.append(_time(device, lambda: loop.run(settings.steps)) / settings.steps)
        loop.rewind()
    row |= _peaks(device, "all")
    row |= _speed(times, _weight_bytes(model), cache, settings)
    row["kernels"] = kernel_rows(cache, model, settings, _time)
    return row


def _speed(times: list[float], weights: int, cache: RaggedCache, settings: Settings) -> dict[str, Any]:
    median = statistics.median(times)
    grown = sum(layer.kept.numel() * 2 * layer.filled().width for layer in cache.ragged) * settings.steps // 2
    moved = (
        weights
        + cache.cache_bytes
        + grown * torch.empty(0, dtype=getattr(torch, settings.dtype)).element_size()
    )
    rows = len(cache.ragged[0].kept)
    result = {
        "decode_ms_per_token": 1000 * median,
        "decode_ms_least": 1000 * min(times),
        "decode_ms_most": 1000 * max(times),
        "tokens_per_s": rows / median,
        "weight_bytes": weights,
        "moved_bytes": moved,
        "achieved_gb_s": moved / median / 1e9,
        "bandwidth_gb_s": settings.bandwidth / 1e9,
    }
    if settings.bandwidth:
        result["times_floor"] = median * settings.bandwidth / moved
    return result


def _timed(choose: Callable[..., Any], seconds: list[float], device: torch.device) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        start = _now(device)
        out = choose(*args)
        seconds.append(_now(device) - start)
        return out

    return run


def _rows(positions: torch.Tensor, batch: int) -> torch.Tensor:
    return positions.expand(*positions.shape[:-2], batch, 1)


def _largest(cache: RaggedCache, device: torch.device) -> int:
    """Rows whose caches fill the share of the memory that is free, a few at least."""
    if device.type != "cuda":
        return 4
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(MOST_ROWS, int(FREE_SHARE * free / cache.reserved_bytes)))


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


def _weight_bytes(model: Any) -> int:
    """Bytes of the weights that a decode step reads: the text layers, the last norm and the head."""
    text, head = model.get_decoder(), model.get_output_embeddings()
    skipped = {id(p) for p in text.get_input_embeddings().parameters()}
    parameters = {id(p): p for part in (text, head) for p in part.parameters()}
    return sum(p.numel() * p.element_size() for key, p in parameters.items() if key not in skipped)


def measure_bandwidth(settings: Settings) -> float:
    """Bytes read and written a second by a copy on the device: the median of ten copies of 4 GiB (CPU: 64 MiB)."""
    device = torch.device(settings.device)
    count = (1 << 32) if device.type == "cuda" else (1 << 26)
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = [_time(device, lambda: target.copy_(source)) for _ in range(12)][2:]
    return 2 * count / statistics.median(times)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _time(device: torch.device, work: Callable[[], Any]) -> float:
    """Seconds of work, by CUDA events where there are any."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    work()
    last.record()
    torch.cuda.synchronize(device)
    return float(first.elapsed_time(last)) / 1000


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peaks(device: torch.device, when: str) -> dict[str, int]:
    """Peak bytes since the reset; a CPU has no such counter here."""
    if device.type != "cuda":
        return {}
    return {
        f"peak_{when}_allocated": torch.cuda.max_memory_allocated(device),
        f"peak_{when}_reserved": torch.cuda.max_memory_reserved(device),
    }
