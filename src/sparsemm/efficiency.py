"""Decode latency and peak memory of one policy at one prompt length: warmed up, synchronised, repeated.

What a workflow script calls, in a process of its own::

    policy = make_policy(label, budget=256, window=32, kernel=5, scores=head_scores, num_kv_heads=12)
    frame = profile_cell(loaded, policy, tokens=32768, label=label, new_tokens=100, repeats=3, warmup=1, seed=0)
    write_table(path, frame, "efficiency", metadata)

All policies, the full cache too, go through the same packed storage and the same decode loop; on CUDA with triton its
step is a CUDA graph.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from PIL import Image
from transformers.modeling_utils import PreTrainedModel

from sparsemm.attention import switched
from sparsemm.cache import Chooser, RaggedCache
from sparsemm.chunking import chunked
from sparsemm.compress import chooser
from sparsemm.embedded.documents import PAGE_SIZES, READ_PROMPT, generate_document
from sparsemm.errors import InputError
from sparsemm.families import family_of
from sparsemm.greedy import GreedyLoop
from sparsemm.models import Loaded, build_inputs, shape
from sparsemm.peak_memory import PeakMemory
from sparsemm.policies import Policy

COLUMNS = [
    "policy",
    "budget",
    "input_tokens",
    "repeat",
    "prefill_s",
    "decode_ms_per_token",
    "peak_bytes",
    "cache_bytes",
    "device",
]
_PAGE = max(PAGE_SIZES)
_LONG_PREFILL_S = 1.0  # a prefill longer than this is run and timed once, and decode is repeated from its end


def profile_cell(
    loaded: Loaded,
    policy: Policy,
    tokens: int,
    *,
    label: str | None = None,
    new_tokens: int = 100,
    repeats: int = 3,
    warmup: int = 1,
    seed: int = 0,
) -> pd.DataFrame:
    """Time prefill and decode of one prompt of exactly ``tokens`` tokens, batch 1; a row a repeat, kind ``efficiency``.

    Decode is greedy over ``new_tokens`` steps whatever the tokens are (an end token does not end it). ``warmup``
    decodes go untimed before. ``peak_bytes`` is that of the whole cell (see PeakMemory), the same in each row, and
    so is ``prefill_s`` when the prefill is long. Budget 0 is the full cache.

    Raises:
        InputError: for a prompt shorter than one image takes, or counts that are not positive.
    """
    for key, value, least in (("new_tokens", new_tokens, 1), ("repeats", repeats, 1), ("warmup", warmup, 0)):
        if value < least:
            raise InputError(f"efficiency.{key}: {value} is too small; use {least} or more")
    model, device = loaded.model, loaded.model.device
    inputs = build_prompt(loaded, tokens, seed)
    with switched(model):
        _warm_up(loaded, policy, seed)
        with PeakMemory(device) as peak:
            times, cache_bytes = _measure(model, inputs, policy, new_tokens, repeats, warmup)
    rows = [
        (
            label or policy.name,
            policy.budget or 0,
            tokens,
            repeat,
            prefill_s,
            1000 * decode_s / new_tokens,
            peak.bytes,
            cache_bytes,
            _device_name(device),
        )
        for repeat, (prefill_s, decode_s) in enumerate(times)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def build_prompt(loaded: Loaded, tokens: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of exactly ``tokens`` tokens: as many document images as fit, and filling text after the last one.

    Raises:
        InputError: when not even one image fits.
    """
    pages = _Pages(seed)
    one, two = (_length(loaded, pages.take(count)) for count in (1, 2))
    if tokens < one:
        raise InputError(
            f"efficiency.tokens: {tokens} is less than one image and its question take; use {one} or more"
        )
    inputs = build_inputs(
        loaded, [pages.take(1 + (tokens - one) // (two - one))], [READ_PROMPT], device=loaded.model.device
    )
    ids = inputs["input_ids"]
    last = int((ids[0] == shape(loaded.model).image_token_id).nonzero().max())
    words = torch.tensor(loaded.processor.tokenizer(READ_PROMPT, add_special_tokens=False)["input_ids"])
    missing = tokens - ids.shape[1]
    filling = words.repeat(missing // len(words) + 1)[None, :missing].to(ids.device)
    for name, filler in (("input_ids", filling), ("attention_mask", torch.ones_like(filling))):
        inputs[name] = torch.cat([inputs[name][:, : last + 1], filler, inputs[name][:, last + 1 :]], 1)
    assert inputs["input_ids"].shape == (1, tokens)
    return inputs


class _Pages:
    """Documents of one page size, drawn once and handed out from the first on."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"efficiency-{seed}")
        self.drawn: list[Image.Image] = []

    def take(self, count: int) -> list[Image.Image]:
        while len(self.drawn) < count:
            image = generate_document(self.rng, split="eval", kind="page").image
            if image.size == _PAGE:
                self.drawn.append(image)
        return self.drawn[:count]


def _length(loaded: Loaded, images: list[Image.Image]) -> int:
    return int(build_inputs(loaded, [images], [READ_PROMPT], device="cpu")["input_ids"].shape[1])


@torch.no_grad()
def prefill(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    policy: Policy,
    reserve: int,
    *,
    choosers: Sequence[Chooser] | None = None,
    storage: str = "auto",
) -> tuple[RaggedCache, torch.Tensor, torch.Tensor]:
    """Run an unpadded prompt into a packed cache with room for ``reserve`` tokens.

    Returns the cache, its first new token, int64 [1, 1], and the ``position_ids`` of that. Only inside
    `switched(model)`. choosers: in place of the policy's own, one a layer; storage: see `RaggedLayer`.
    """
    layers = shape(model).num_layers
    choosers = choosers or [chooser(policy, layer, layers) for layer in range(layers)]
    cache = RaggedCache(layers, choosers, reserve=reserve, storage=storage)
    family = family_of(model)
    whole = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    positions, following = family.prefill_positions(model, whole)
    rest = {name: value for name, value in inputs.items() if name != "attention_mask"}
    with chunked(model):
        out = model(**rest, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, out.logits[:, -1:].argmax(-1), family.decode_positions(following)


@torch.no_grad()
def _measure(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    policy: Policy,
    steps: int,
    repeats: int,
    warmup: int,
) -> tuple[list[tuple[float, float]], int]:
    """(prefill, decode) seconds of each repeat, and the bytes of the packed cache."""
    device = model.device
    start = _now(device)
    cache, first, place = prefill(model, inputs, policy, steps)
    prefill_s = _now(device) - start
    repeat_prefill = prefill_s < _LONG_PREFILL_S
    loop = GreedyLoop(model, cache, first, place)
    for _ in range(warmup):
        loop.run(steps)
        loop.rewind()
    times = []
    for repeat in range(repeats):
        if repeat_prefill:
            del cache, loop  # two caches at once would count twice in the peak
            start = _now(device)
            cache, first, place = prefill(model, inputs, policy, steps)
            prefill_s = _now(device) - start
            loop = GreedyLoop(model, cache, first, place)
        elif repeat:
            loop.rewind()
        start = _now(device)
        loop.run(steps)
        times.append((prefill_s, _now(device) - start))
    return times, cache.cache_bytes


@torch.no_grad()
def _warm_up(loaded: Loaded, policy: Policy, seed: int) -> None:
    """One small prompt end to end: threads, kernels and lazily made tables are there before anything is timed."""
    inputs = build_inputs(loaded, [_Pages(seed).take(1)], [READ_PROMPT], device=loaded.model.device)
    cache, first, place = prefill(loaded.model, inputs, policy, 4)
    GreedyLoop(loaded.model, cache, first, place).run(4)


def _now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
