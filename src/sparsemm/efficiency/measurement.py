"""Measure one prompt under one policy: latency of prefill and decode, memory. For any model and prompt.

Every policy, the full cache too, uses the same packed storage and the same decode loop; on CUDA with triton its step is
a CUDA graph.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache, TokenSelector
from sparsemm.efficiency.floor import copy_bandwidth, largest_batch, moved_bytes, weight_bytes
from sparsemm.errors import InputError
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.generation.selector import find_image_tokens, token_selector
from sparsemm.models.loading import shape
from sparsemm.policies import Policy
from sparsemm.runtime.clock import Stopwatch, frozen_gc, synchronize, timed
from sparsemm.runtime.peak_memory import PeakMemory

LARGEST = "largest"
_LONG_PREFILL_S = 1.0  # a longer prefill is timed only once, and the decode repeats start from its cache

Prompt = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class MeasureSettings:
    """How a prompt is measured.

    Attributes:
        batch: rows that decode, all of the same prompt; LARGEST: as many as fit the free memory.
        new_tokens: decode steps of a repeat.
        repeats: timed repeats.
        warmup: untimed decodes before them.
        storage: a kind of store, see `make_store`.

    Raises:
        InputError: for a batch or counts that are too small.
    """

    batch: int | str = 1
    new_tokens: int = 100
    repeats: int = 3
    warmup: int = 1
    storage: str = "auto"

    def __post_init__(self) -> None:
        for key, least in (("new_tokens", 1), ("repeats", 1), ("warmup", 0)):
            value = getattr(self, key)
            if value < least:
                raise InputError(f"efficiency.{key}: {value} is too small; use {least} or more")
        if isinstance(self.batch, int) and self.batch < 1:
            raise InputError(f"efficiency.batches: {self.batch} is too small; use 1 or more, or {LARGEST}")
        if isinstance(self.batch, str) and self.batch != LARGEST:
            raise InputError(
                f"efficiency.batches: {self.batch!r} is no batch; give numbers of rows or {LARGEST}"
            )


class Times(NamedTuple):
    """Seconds of one prefill.

    Attributes:
        prefill_s: the prefill alone.
        first_token_s: from inputs on the host to a token on the host.
        selection_s: ranking and selecting the kept tokens, all layers.
    """

    prefill_s: float
    first_token_s: float
    selection_s: float


class TimedPrefill(NamedTuple):
    """A prefilled prompt.

    Attributes:
        cache: its packed cache.
        token: int64 [R, 1], the first new token.
        positions: its `position_ids`.
        times: of the prefill.
    """

    cache: RaggedCache
    token: torch.Tensor
    positions: torch.Tensor
    times: Times


@dataclass(frozen=True)
class Measured:
    """What was measured, in seconds, bytes, bytes per second; `repeats`: (prefill, decode) seconds of each repeat."""

    rows: int
    new_tokens: int
    repeats: list[tuple[float, float]]
    first_token_s: float
    selection_s: float
    peak_bytes: int
    peak_reserved_bytes: int
    cache_bytes: int
    reserved_cache_bytes: int
    kept_tokens: float  # mean over KV heads
    weight_bytes: int
    moved_bytes: int
    copy_bandwidth: float
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def step_s(self) -> float:
        """Seconds of one decode step, the median of the repeats."""
        return statistics.median(decode for _, decode in self.repeats) / self.new_tokens

    @property
    def summary(self) -> dict[str, Any]:
        """The measured columns of result files of kind `profile`."""
        steps = [1000 * decode / self.new_tokens for _, decode in self.repeats]
        achieved = self.moved_bytes / self.step_s
        return {
            "rows": self.rows,
            "prefill_s": statistics.median(prefill for prefill, _ in self.repeats),
            "first_token_s": self.first_token_s,
            "selection_s": self.selection_s,
            "decode_ms_per_token": 1000 * self.step_s,
            "decode_ms_least": min(steps),
            "decode_ms_most": max(steps),
            "tokens_per_s": self.rows / self.step_s,
            "peak_bytes": self.peak_bytes,
            "peak_reserved_bytes": self.peak_reserved_bytes,
            "cache_bytes": self.cache_bytes,
            "reserved_cache_bytes": self.reserved_cache_bytes,
            "kept_tokens": self.kept_tokens,
            "weight_bytes": self.weight_bytes,
            "moved_bytes": self.moved_bytes,
            "achieved_gb_s": achieved / 1e9,
            "copy_gb_s": self.copy_bandwidth / 1e9,
            "times_floor": self.copy_bandwidth / achieved,
        }


@torch.no_grad()
def measure(
    model: PreTrainedModel,
    inputs: Prompt,
    policy: Policy,
    settings: MeasureSettings | None = None,
    *,
    warm_inputs: Prompt | None = None,
    inspect: Callable[[TimedPrefill, GreedyLoop], dict[str, Any]] | None = None,
) -> Measured:
    """Time the prefill of a prompt and greedy decode steps after it, several times.

    The prompt is prefilled as one row; for a batch its cache is copied. `prefill_s`, `first_token_s` and `selection_s`
    are of one row. An end token does not end a repeat. Peaks include everything but the run of `warm_inputs`.

    Args:
        model: a vision-language model.
        inputs: one unpadded row, on the host.
        policy: what is kept.
        settings: counts, batch and storage; default: `MeasureSettings()`.
        warm_inputs: a prompt that is run end to end before anything is measured.
        inspect: called last, outside of the measured time and memory, with the prefill and the rewound loop; returns
            `extras`.
    """
    settings = settings or MeasureSettings()
    new_tokens, storage = settings.new_tokens, settings.storage
    device, weights = model.device, weight_bytes(model)
    bandwidth = copy_bandwidth(device)
    if warm_inputs is not None:
        with ragged_attention_in(model):
            warm = _timed_prefill(model, warm_inputs, policy, 4, storage)
            GreedyLoop(model, warm.cache, warm.token, warm.positions).run(4)
        del warm
    with ragged_attention_in(model), frozen_gc():
        with PeakMemory(device) as peak:
            start = _timed_prefill(model, inputs, policy, new_tokens, storage)
            prefills, decodes = [start.times], list[float]()
            batch = settings.batch
            rows = batch if isinstance(batch, int) else largest_batch(start.cache, device)
            start = start if rows == 1 else _repeated(start, rows, new_tokens)
            loop = GreedyLoop(model, start.cache, start.token, start.positions)
            for _ in range(settings.warmup):
                loop.run(new_tokens)
                loop.rewind()
            for _ in range(settings.repeats):
                if rows == 1 and prefills[0].prefill_s < _LONG_PREFILL_S:
                    del start, loop  # a second cache would count in the peak
                    start = _timed_prefill(model, inputs, policy, new_tokens, storage)
                    prefills.append(start.times)
                    loop = GreedyLoop(model, start.cache, start.token, start.positions)
                else:
                    loop.rewind()
                decodes.append(timed(device, functools.partial(loop.run, new_tokens)))
            loop.rewind()
        prefills = prefills[1:] or prefills * settings.repeats
        return Measured(
            rows=rows,
            new_tokens=new_tokens,
            repeats=[(each.prefill_s, decode) for each, decode in zip(prefills, decodes)],
            first_token_s=statistics.median(each.first_token_s for each in prefills),
            selection_s=statistics.median(each.selection_s for each in prefills),
            peak_bytes=peak.bytes,
            peak_reserved_bytes=peak.reserved,
            cache_bytes=start.cache.cache_bytes,
            reserved_cache_bytes=start.cache.reserved_bytes,
            kept_tokens=float(start.cache.kept.double().mean()),
            weight_bytes=weights,
            moved_bytes=moved_bytes(start.cache, weights, new_tokens),
            copy_bandwidth=bandwidth,
            extras={} if inspect is None else inspect(start, loop),
        )


def _timed_prefill(
    model: PreTrainedModel, inputs: Prompt, policy: Policy, steps: int, storage: str
) -> TimedPrefill:
    device, layers = model.device, shape(model).num_layers
    whole, selecting = Stopwatch(device), Stopwatch(device)

    def images() -> torch.Tensor:
        return find_image_tokens(model, here["input_ids"])

    selectors = [_timed(token_selector(policy, layer, layers, images), selecting) for layer in range(layers)]
    synchronize(device)
    begin = time.perf_counter()
    here = {name: tensor.to(device) for name, tensor in inputs.items()}
    with whole:
        cache, token, positions = prefill(model, here, policy, steps, selectors=selectors, storage=storage)
    token.tolist()
    first_token_s = time.perf_counter() - begin
    return TimedPrefill(cache, token, positions, Times(whole.seconds(), first_token_s, selecting.seconds()))


def _timed(selector: TokenSelector, watch: Stopwatch) -> TokenSelector:
    def run(*arguments: Any) -> torch.Tensor:
        with watch:
            return selector(*arguments)

    return run


def _repeated(start: TimedPrefill, rows: int, reserve: int) -> TimedPrefill:
    """The same prompt in every row of a new cache."""
    cache = RaggedCache.combine([start.cache] * rows, reserve=reserve)
    positions = start.positions.expand(*start.positions.shape[:-2], rows, 1)
    return TimedPrefill(cache, start.token.expand(rows, 1), positions, start.times)
