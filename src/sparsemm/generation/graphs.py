"""A decode step as a CUDA graph: captured once, replayed without Python, launches or a look at the host's counters.

What makes it possible is the Triton store: addresses never change and lengths live on the device. Without CUDA the
same step runs as a graph would run it: the host's counters are put back to what they were at capture before each
call, so that a step that reads one of them gives wrong tokens in a test rather than on a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from sparsemm.cache.ragged import RaggedCache, RaggedLayer
from sparsemm.errors import InputError
from sparsemm.generation.fusing import Way, ways
from sparsemm.kernels.device import on_device_of
from sparsemm.runtime.clock import timed

_WARM_UPS = 2  # runs before the capture: libraries make their handles and workspaces, Triton compiles
_TIMED = 5  # replays of a graph that has rivals

Result = TypeVar("Result")
Around = Callable[[], AbstractContextManager[None]]  # what a capture is made inside of

_fastest: WeakKeyDictionary[PreTrainedModel, dict[int, Way]] = WeakKeyDictionary()  # by rows


def storage_of(layer: RaggedLayer) -> Any:
    """The layer's Triton store. Raises InputError for another storage."""
    store: Any = layer.filled()
    if not hasattr(store, "counts"):
        raise InputError(
            f"a CUDA graph needs the Triton storage, this cache has {type(store).__name__}; install triton and use a "
            "CUDA device with storage='auto' or 'triton'"
        )
    return store


class GraphStep:
    """One decode step over a packed cache. Each call does what `run` did once, one token further."""

    def __init__(
        self,
        cache: RaggedCache,
        run: Callable[[], torch.Tensor],
        state: Sequence[torch.Tensor] = (),
        around: Sequence[Around] = (nullcontext,),
    ) -> None:
        """run: feeds one token a row through every layer of `cache` and returns a tensor; it reads static tensors.

        state: device tensors that `run` changes. The cache and they are as before when this returns.
        around: contexts for the capture alone. The step is captured in each and the fastest one kept: `taken` is its
        index. Without CUDA the last one is.
        """
        self.layers = list(cache.ragged)
        self.stores = [storage_of(layer) for layer in self.layers]
        self.run, self._around = run, around[-1]
        self.taken = len(around) - 1
        self._host = self._counters()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._out: torch.Tensor | None = None
        if self.stores[0].keys.is_cuda:
            if self.stores[0].grown >= self.stores[0].reserve:
                self.stores[0].advance(1)  # no room even for the warm-up: say so before anything runs
            with on_device_of(self.stores[0].keys):
                self._capture(state, around)

    def __call__(self) -> torch.Tensor:
        """The step's output; on CUDA the same memory at every call. InputError when the cache has no room."""
        for store in self.stores:
            store.advance(1)
        for layer in self.layers:
            layer.seen += 1
        if self._graph is not None:
            assert self._out is not None
            with on_device_of(self._out):
                self._graph.replay()
            return self._out
        true = self._counters()
        self._set(self._host)
        with self._around():
            out = self.run()
        self._set(true)
        return out

    def belongs_to(self, cache: RaggedCache) -> bool:
        """Whether the cache still has the storage this step was made for."""
        return len(cache.ragged) == len(self.stores) and all(
            layer.store is store for layer, store in zip(cache.ragged, self.stores)
        )

    def _capture(self, state: Sequence[torch.Tensor], around: Sequence[Around]) -> None:
        changed = [*(store.counts for store in self.stores), *state]
        saved = [tensor.clone() for tensor in changed]
        least = float("inf")

        def undo() -> None:
            for tensor, before in zip(changed, saved):
                tensor.copy_(before)
            self._set(self._host)

        def warm_up() -> None:
            for _ in range(_WARM_UPS):
                self.run()
                undo()

        for index, context in enumerate(around):
            with context():
                graph, out = captured(self.run, warm_up)
            self._set(self._host)
            taken = _seconds(graph, undo, saved[0].device) if len(around) > 1 else 0.0
            if taken < least:
                least, self.taken, self._graph, self._out = taken, index, graph, out

    def _counters(self) -> list[tuple[int, int]]:
        return [(layer.seen, store.grown) for layer, store in zip(self.layers, self.stores)]

    def _set(self, counters: Sequence[tuple[int, int]]) -> None:
        for layer, store, (seen, grown) in zip(self.layers, self.stores, counters):
            layer.seen = seen
            store.count_grown(grown)


def captured(run: Callable[[], Result], warm_up: Callable[[], object]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """`run` as a CUDA graph of the current device, and what it returned. `warm_up` runs first, on the same stream.

    So the graph uses the workspace of cuBLAS that the warm-up made there: that of torch's own stream for captures
    belongs to the first graph made on it, and is freed with it under later ones.
    """
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        warm_up()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, stream=side):
        out = run()
    return graph, out


def _seconds(graph: torch.cuda.CUDAGraph, undo: Callable[[], None], device: torch.device) -> float:
    """The least of a few replays, each taken back."""
    times = []
    for _ in range(_TIMED):
        times.append(timed(device, graph.replay))
        undo()
    return min(times)


def fused_step(
    model: PreTrainedModel,
    cache: RaggedCache,
    run: Callable[[], torch.Tensor],
    state: Sequence[torch.Tensor] = (),
) -> tuple[GraphStep, Way]:
    """A `GraphStep` in the fastest of the `ways` to fuse the model's step, and that way.

    Which one it is is measured at the first step of so many rows, and remembered as long as the model lives.
    """
    rows = storage_of(cache.ragged[0]).rows
    known, options = _fastest.setdefault(model, {}), ways(model, rows)
    if known.get(rows) in options:
        options = [known[rows]]
    step = GraphStep(cache, run, state, [functools.partial(way, model) for way in options])
    known[rows] = options[step.taken]
    return step, known[rows]


def graphed_forward(model: PreTrainedModel) -> Callable[..., Any]:
    """A `model.forward` that replays the single-token steps of `generate` over a ragged cache, fused (`fused_step`).

    Everything else (the prefill, several tokens at once, other caches, hidden states asked for) runs as before. A
    later turn, or a cache that was copied or grew, is captured anew.
    """
    plain: Any = model.forward
    current: _Decode | None = None

    @functools.wraps(plain)
    def forward(*args: Any, **options: Any) -> Any:
        nonlocal current
        cache: Any = options.get("past_key_values")
        if args or not _is_step(cache, options):
            current = None
            return plain(*args, **options)
        if current is None or not current.fits(cache, options):
            mask = options.get("attention_mask")
            if mask is not None and mask.dim() == 2 and not bool(mask[:, -1].all()):
                return plain(**options)  # a pad among new tokens: once a turn at most, and not for a graph
            current = _Decode(model, plain, cache, options)
        return current(options["input_ids"], options["position_ids"])

    return forward


def _is_step(cache: object, options: dict[str, Any]) -> bool:
    ids, positions = options.get("input_ids"), options.get("position_ids")
    if not isinstance(cache, RaggedCache) or not cache.filled or ids is None or positions is None:
        return False
    asked = ("output_hidden_states", "output_attentions", "pixel_values", "pixel_values_videos", "labels")
    return ids.shape[1] == 1 and not any(
        options.get(name) is not None and options[name] is not False for name in asked
    )


class _Decode:
    """The model's forward on static inputs, and its output around the logits of the newest replay."""

    def __init__(
        self,
        model: PreTrainedModel,
        forward: Callable[..., Any],
        cache: RaggedCache,
        options: dict[str, Any],
    ) -> None:
        self.cache = cache
        ids, positions = options["input_ids"].clone(), options["position_ids"].clone()
        self.ids, self.positions = ids, positions
        self.newest: dict[str, Any] = {}  # the output's type, and its fields
        newest = self.newest

        def run() -> (
            torch.Tensor
        ):  # without self: in a circle of references old caches would outlive their use
            # No attention mask: every row attends to all it holds, and a mask would be looked into on the host.
            out = forward(
                input_ids=ids,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                return_dict=True,
            )
            newest.update(kind=type(out), fields=dict(out))
            logits: torch.Tensor = out.logits
            return logits

        self.step, _ = fused_step(model, cache, run)

    def fits(self, cache: RaggedCache, options: dict[str, Any]) -> bool:
        same = options["input_ids"].shape == self.ids.shape
        same = same and options["position_ids"].shape == self.positions.shape
        return same and cache is self.cache and self.step.belongs_to(cache)

    def __call__(self, ids: torch.Tensor, positions: torch.Tensor) -> Any:
        self.ids.copy_(ids)
        self.positions.copy_(positions)
        logits = self.step()
        return self.newest["kind"](**{**self.newest["fields"], "logits": logits.clone()})
