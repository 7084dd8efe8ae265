"""compress(): plain `model.generate` with a compressed cache, a context manager that undoes everything on exit."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.generation.configuration_utils import GenerationConfig, GenerationMode

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache, Session
from sparsemm.cache.stores.registry import check_kind
from sparsemm.errors import InputError
from sparsemm.generation.checks import check_call, check_model
from sparsemm.generation.choosing import chooser
from sparsemm.generation.chunking import chunked
from sparsemm.generation.graphs import graphed_forward
from sparsemm.policies import Policy

__all__ = ["Run", "compress"]

# Held while a model is checked and changed, or changed back: two threads must not both find it unchanged.
# Re-entrant, as the garbage collector may leave a forgotten `compress` in the middle of this one.
_SWITCHING = threading.RLock()


class Run:
    """What the newest `generate` inside `compress` kept. `cache` is the cache itself, until the exit."""

    def __init__(self) -> None:
        self.session = Session()
        self.cache: RaggedCache | None = None
        self._sizes: tuple[torch.Tensor, int, int] | None = None

    @property
    def kept(self) -> torch.Tensor:
        """Prompt tokens kept, int64 [L, B, Hkv]."""
        return self._measured()[0]

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values kept."""
        return self._measured()[1]

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated, with the room for new tokens."""
        return self._measured()[2]

    def _measured(self) -> tuple[torch.Tensor, int, int]:
        sizes = self._sizes
        if self.cache is not None:
            cache = self.cache
            sizes = (cache.kept, cache.cache_bytes, cache.reserved_bytes) if cache.filled else None
        if sizes is None:
            raise InputError("nothing was generated inside compress(...); call model.generate there first")
        return sizes

    def _finish(self) -> None:
        """Remember the sizes and let go of the caches: what was returned of them refuses further use."""
        if self.cache is not None:
            self._sizes = self._measured() if self.cache.filled else None
        self.cache = None
        self.session.open = False


@contextmanager
def compress(
    model: PreTrainedModel,
    policy: Policy,
    *,
    any_scores: bool = False,
    cuda_graph: bool = False,
    storage: str = "auto",
) -> Iterator[Run]:
    """Inside, `model.generate` keeps only what the policy keeps of every prompt.

    Greedy and sampled generation, `num_return_sequences`, left-padded batches, several images a prompt, scores
    and logits, streamers, and later turns on the returned `past_key_values` (their tokens are kept whole; a
    `copy.deepcopy` of it works too) work. Everything else raises InputError before anything is computed: beam
    search, assisted and other decoding, continuous batching, chunked prefill, another cache, sliding windows,
    a compiled model, nested use (another thread's too), scores of another shape. Scores whose metadata names
    another model than `model.name_or_path` are refused unless any_scores is True. A bare `model(...)` call makes
    its own cache and is not compressed. All threads that generate with this model meanwhile are compressed.

    cuda_graph: capture a decode step as a CUDA graph, once a `generate`, and replay it; needs triton, the whole model
    on one CUDA device, and one thread.

    Prompts above 4096 tokens go through norms and MLPs in chunks of so many, which needs less memory (chunking.py).

    storage: how the kept tokens are stored: "int8" or "int4" quantise them (new tokens stay in full precision);
    "auto" keeps them exactly, in the Triton store on a GPU that can run it and in the torch store elsewhere.
    """
    with _SWITCHING, ExitStack() as entering:
        check_model(model, policy, any_scores=any_scores)
        check_kind(storage)
        if cuda_graph and storage != "auto":
            raise InputError(f"cuda_graph=True cannot use storage={storage!r}; leave one of them out")
        if cuda_graph and model.device.type != "cuda":
            raise InputError(
                f"cuda_graph=True needs the model on CUDA, it is on {model.device.type}; leave it out or move the model"
            )
        if cuda_graph and len({weight.device for weight in model.parameters()}) > 1:
            raise InputError("cuda_graph=True needs the model on one device, it is on several; leave it out")
        run = Run()
        entering.enter_context(ragged_attention_in(model))
        entering.enter_context(chunked(model))
        entering.enter_context(_replaced(model, _methods(model, policy, run, storage)))
        if cuda_graph:
            entering.enter_context(_replaced(model, {"forward": graphed_forward(model)}))
        undo = entering.pop_all()
    try:
        yield run
    finally:
        with _SWITCHING:
            undo.close()
            run._finish()


def _methods(model: PreTrainedModel, policy: Policy, run: Run, storage: str) -> dict[str, Callable[..., Any]]:
    """What the model does instead of its own methods while it is compressed."""
    num_layers = int(model.config.get_text_config().num_hidden_layers)
    plain: Any = model.generate

    @functools.wraps(plain)
    def generate(*args: Any, **options: Any) -> Any:
        check_call(model, run.session, args, options)
        return plain(*args, **options)

    def prepare_cache(
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        cache = model_kwargs.get("past_key_values")
        if cache is None:
            choosers = [chooser(policy, layer, num_layers) for layer in range(num_layers)]
            cache = RaggedCache(
                num_layers, choosers, max_length=max_cache_length, session=run.session, storage=storage
            )
        else:
            cache.grow(max_cache_length - cache.get_seq_length())
        run.cache = model_kwargs["past_key_values"] = cache

    def refuse(*args: Any, **options: Any) -> Any:
        raise InputError("compress(...) cannot follow continuous batching; use model.generate")

    return {
        "generate": generate,
        "_prepare_cache_for_generation": prepare_cache,
        "init_continuous_batching": refuse,
    }


@contextmanager
def _replaced(model: PreTrainedModel, methods: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """The model with these methods of its own; what its instance held before comes back."""
    own = vars(model)
    before = {name: own[name] for name in methods if name in own}
    own.update(methods)
    try:
        yield
    finally:
        for name in methods:
            own.pop(name, None)
        own.update(before)
