"""A decode step as a CUDA graph: captured once, replayed without Python and without single launches.

The Triton store makes it possible: its addresses are fixed and its lengths are on the device. Without CUDA the same
step runs under a graph's constraints: before each call the host's counters are set back to their values at capture, so
a step that depends on one of them gives wrong tokens in a CPU test, not only on a GPU.
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
from sparsemm.generation.fusing import Fusion, fusions
from sparsemm.kernels.device import on_device_of
from sparsemm.runtime.clock import timed

_WARM_UPS = (
    2  # runs before the capture, in which libraries allocate handles and workspaces and Triton compiles
)
_TIMED = 5  # timed replays of each graph when several are compared

Result = TypeVar("Result")
Context = Callable[[], AbstractContextManager[None]]

# The fastest fusion of each model, by rows.
_fastest: WeakKeyDictionary[PreTrainedModel, dict[int, Fusion]] = WeakKeyDictionary()


def triton_store_of(layer: RaggedLayer) -> Any:
    """The layer's Triton store. Raises InputError for a store of another kind."""
    store: Any = layer.filled()
    if not hasattr(store, "counts"):
        raise InputError(
            f"a CUDA graph needs the Triton storage, this cache has {type(store).__name__}; install triton and use a "
            "CUDA device with storage='auto' or 'triton'"
        )
    return store


class GraphStep:
    """One decode step over a packed cache; each call runs it for the next token.

    Args:
        cache: a filled cache with Triton stores.
        run: feeds one token a row through every layer of `cache` and returns a tensor; it reads static tensors.
        state: device tensors that `run` changes. They and the cache are unchanged when the constructor returns.
        contexts: contexts that are open during the capture alone. The step is captured in each of them and the fastest
            graph is kept. Without CUDA the step runs in the last one.

    Attributes:
        fastest: index of the context in which the step was captured, or runs.

    Raises:
        InputError: for another store, or without space for a token.
    """

    def __init__(
        self,
        cache: RaggedCache,
        run: Callable[[], torch.Tensor],
        state: Sequence[torch.Tensor] = (),
        contexts: Sequence[Context] = (nullcontext,),
    ) -> None:
        self.layers = list(cache.ragged)
        self.stores = [triton_store_of(layer) for layer in self.layers]
        self.run, self._context = run, contexts[-1]
        self.fastest = len(contexts) - 1
        self._host = self._counters()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._out: torch.Tensor | None = None
        if self.stores[0].keys.is_cuda:
            if self.stores[0].grown >= self.stores[0].reserve:
                self.stores[0].advance(1)  # raises: there is no slot even for the warm-up
            with on_device_of(self.stores[0].keys):
                self._capture(state, contexts)

    def __call__(self) -> torch.Tensor:
        """The step's output; on CUDA the same memory at every call. InputError when the cache has no free slot."""
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
        with self._context():
            out = self.run()
        self._set(true)
        return out

    def belongs_to(self, cache: RaggedCache) -> bool:
        """Whether the cache still has the stores that this step was made for."""
        return len(cache.ragged) == len(self.stores) and all(
            layer.store is store for layer, store in zip(cache.ragged, self.stores)
        )

    def _capture(self, state: Sequence[torch.Tensor], contexts: Sequence[Context]) -> None:
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

        for index, context in enumerate(contexts):
            with context():
                graph, out = capture_graph(self.run, warm_up)
            self._set(self._host)
            seconds = _seconds(graph, undo, saved[0].device) if len(contexts) > 1 else 0.0
            if seconds < least:
                least, self.fastest, self._graph, self._out = seconds, index, graph, out

    def _counters(self) -> list[tuple[int, int]]:
        return [(layer.seen, store.grown) for layer, store in zip(self.layers, self.stores)]

    def _set(self, counters: Sequence[tuple[int, int]]) -> None:
        for layer, store, (seen, grown) in zip(self.layers, self.stores, counters):
            layer.seen = seen
            store.count_grown(grown)


def capture_graph(
    run: Callable[[], Result], warm_up: Callable[[], object]
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Capture `run` as a CUDA graph of the current device, after `warm_up` on the same new stream.

    The graph then uses the cuBLAS workspace that the warm-up allocated for this stream. On torch's common capture
    stream the workspace would belong to the first graph captured there, and later graphs would use it after it is
    freed.

    Returns:
        The graph, and what `run` returned.
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
    """The shortest of a few replays, each undone."""
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
) -> tuple[GraphStep, Fusion]:
    """A `GraphStep` under the fastest fusion of the model's step.

    The fusions are timed at the first step with this number of rows; the result is remembered while the model exists.

    Args:
        model: the model that `run` calls.
        cache: see `GraphStep`, as `run` and `state`.
        run: the step.
        state: device tensors that it changes.

    Returns:
        The step and its fusion.
    """
    rows = triton_store_of(cache.ragged[0]).rows
    known, options = _fastest.setdefault(model, {}), fusions(model, rows)
    if known.get(rows) in options:
        options = [known[rows]]
    step = GraphStep(cache, run, state, [functools.partial(fusion, model) for fusion in options])
    known[rows] = options[step.fastest]
    return step, known[rows]


def graphed_forward(model: PreTrainedModel) -> Callable[..., Any]:
    """A `model.forward` that replays the single-token steps of `generate` over a ragged cache as a `fused_step`.

    Everything else (the prefill, several tokens at once, other caches, requested hidden states) runs as before. A later
    turn, or a cache that was copied or has grown, is captured again.
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
                return plain(**options)  # a pad among the new tokens, at most once a turn: not captured
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
    """The model's forward as a graph over static inputs; returns its output with the logits of the newest replay."""

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

        # `run` does not use self: a reference cycle would keep old caches until the garbage collector runs.
        def run() -> torch.Tensor:
            # No attention mask: every row attends to all its tokens, and reading a mask would synchronise.
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
