"""Measure one prompt under one policy: prefill, decode, memory. Any model and any prompt; `profile` gives it ours.

Every policy, the full cache too, goes through the same packed storage and the same decode loop; on CUDA with triton
its step is a CUDA graph.
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
from sparsemm.cache.ragged import Chooser, RaggedCache
from sparsemm.efficiency.floor import copy_bandwidth, largest_batch, moved_bytes, weight_bytes
from sparsemm.errors import InputError
from sparsemm.generation.choosing import chooser
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.models.loading import shape
from sparsemm.policies import Policy
from sparsemm.runtime.clock import Stopwatch, frozen_gc, synchronize, timed
from sparsemm.runtime.peak_memory import PeakMemory

_LONG_PREFILL_S = 1.0  # a prefill longer than this is run and timed once, and decode is repeated from its end

Prompt = Mapping[str, torch.Tensor]


class Times(NamedTuple):
    """Seconds of one prefill: alone, from inputs on the host to a token on the host, and of choosing what is kept."""

    prefill_s: float
    first_token_s: float
    selection_s: float


class Begun(NamedTuple):
    """A prompt's end: its cache, the first new token int64 [R, 1], the `position_ids` of that, and how long it took."""

    cache: RaggedCache
    token: torch.Tensor
    place: torch.Tensor
    times: Times


@dataclass(frozen=True)
class Measured:
    """What was measured. Seconds, bytes, bytes a second; `repeats` has (prefill, decode) seconds of each repeat."""

    rows: int
    new_tokens: int
    repeats: list[tuple[float, float]]
    first_token_s: float
    selection_s: float
    peak_bytes: int
    peak_reserved_bytes: int
    cache_bytes: int
    reserved_cache_bytes: int
    kept_tokens: float  # a KV head, in the mean
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
        """The columns of kind `profile` that are measured."""
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
    *,
    batch: int | None = 1,
    new_tokens: int = 100,
    repeats: int = 3,
    warmup: int = 1,
    warm_inputs: Prompt | None = None,
    storage: str = "auto",
    inspect: Callable[[Begun, GreedyLoop], dict[str, Any]] | None = None,
) -> Measured:
    """Time the prefill of `inputs` (one row, unpadded) and `new_tokens` greedy steps after it, `repeats` times.

    batch: rows that decode, all of this prompt: it is prefilled once and its cache copied; None: as many as fit the
    free memory. `prefill_s`, `first_token_s` (from inputs on the host to a token on the host) and `selection_s`
    (ranking and choosing what is kept, all layers) are of one row. An end token does not end a repeat. `warmup`
    decodes go untimed before; `warm_inputs` is run end to end before anything is measured. Peaks are those of all
    this, without the warm-up of `warm_inputs`.
    inspect: called last, outside of them, with the prompt's end and the rewound loop, for `extras`.

    Raises:
        InputError: for counts that are not positive.
    """
    for key, value, least in (("new_tokens", new_tokens, 1), ("repeats", repeats, 1), ("warmup", warmup, 0)):
        if value < least:
            raise InputError(f"efficiency.{key}: {value} is too small; use {least} or more")
    if batch is not None and batch < 1:
        raise InputError(f"efficiency.batches: {batch} is too small; use 1 or more, or largest")
    device, weights = model.device, weight_bytes(model)
    bandwidth = copy_bandwidth(device)
    if warm_inputs is not None:
        with ragged_attention_in(model):
            warm = _begin(model, warm_inputs, policy, 4, storage)
            GreedyLoop(model, warm.cache, warm.token, warm.place).run(4)
        del warm
    with ragged_attention_in(model), frozen_gc():
        with PeakMemory(device) as peak:
            begun = _begin(model, inputs, policy, new_tokens, storage)
            prefills, decodes = [begun.times], list[float]()
            rows = largest_batch(begun.cache, device) if batch is None else batch
            begun = begun if rows == 1 else _repeated(begun, rows, new_tokens)
            loop = GreedyLoop(model, begun.cache, begun.token, begun.place)
            for _ in range(warmup):
                loop.run(new_tokens)
                loop.rewind()
            for _ in range(repeats):
                if rows == 1 and prefills[0].prefill_s < _LONG_PREFILL_S:
                    del begun, loop  # two caches at once would count twice in the peak
                    begun = _begin(model, inputs, policy, new_tokens, storage)
                    prefills.append(begun.times)
                    loop = GreedyLoop(model, begun.cache, begun.token, begun.place)
                else:
                    loop.rewind()
                decodes.append(timed(device, functools.partial(loop.run, new_tokens)))
            loop.rewind()
        prefills = prefills[1:] or prefills * repeats
        return Measured(
            rows=rows,
            new_tokens=new_tokens,
            repeats=[(each.prefill_s, decode) for each, decode in zip(prefills, decodes)],
            first_token_s=statistics.median(each.first_token_s for each in prefills),
            selection_s=statistics.median(each.selection_s for each in prefills),
            peak_bytes=peak.bytes,
            peak_reserved_bytes=peak.reserved,
            cache_bytes=begun.cache.cache_bytes,
            reserved_cache_bytes=begun.cache.reserved_bytes,
            kept_tokens=float(begun.cache.kept.double().mean()),
            weight_bytes=weights,
            moved_bytes=moved_bytes(begun.cache, weights, new_tokens),
            copy_bandwidth=bandwidth,
            extras={} if inspect is None else inspect(begun, loop),
        )


def _begin(model: PreTrainedModel, inputs: Prompt, policy: Policy, steps: int, storage: str) -> Begun:
    device, layers = model.device, shape(model).num_layers
    whole, choosing = Stopwatch(device), Stopwatch(device)
    choosers = [_watched(chooser(policy, layer, layers), choosing) for layer in range(layers)]
    synchronize(device)
    start = time.perf_counter()
    here = {name: tensor.to(device) for name, tensor in inputs.items()}
    with whole:
        cache, token, place = prefill(model, here, policy, steps, choosers=choosers, storage=storage)
    token.tolist()
    first_token_s = time.perf_counter() - start
    return Begun(cache, token, place, Times(whole.seconds(), first_token_s, choosing.seconds()))


def _watched(choose: Chooser, watch: Stopwatch) -> Chooser:
    def run(*arguments: Any) -> torch.Tensor:
        with watch:
            return choose(*arguments)

    return run


def _repeated(begun: Begun, rows: int, reserve: int) -> Begun:
    """The same prompt in every row of a cache of its own."""
    cache = RaggedCache.combine([begun.cache] * rows, reserve=reserve)
    place = begun.place.expand(*begun.place.shape[:-2], rows, 1)
    return Begun(cache, begun.token.expand(rows, 1), place, begun.times)
