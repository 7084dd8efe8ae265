"""compress(): inside this context `model.generate` runs with a compressed cache; everything is undone on exit."""

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
from sparsemm.generation.chunking import chunked
from sparsemm.generation.graphs import graphed_forward
from sparsemm.generation.selector import ImageTokens, find_image_tokens, token_selector
from sparsemm.models.patching import CHANGING, patched
from sparsemm.policies import Policy
from sparsemm.policies.base import ranker_of

__all__ = ["Run", "compress"]


class Run:
    """What the newest `generate` inside `compress` kept.

    Attributes:
        session: open while the context is; every cache made in it belongs to it.
        cache: the newest cache; None before the first `generate` and after the exit.
    """

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
        """Bytes allocated, those reserved for new tokens included."""
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
        """Remember the sizes, drop the cache and close the session: returned caches then refuse further use."""
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
    """Compress the KV cache of every `model.generate` inside the context: only what the policy keeps of a prompt stays.

    Supported: greedy and sampled generation, `num_return_sequences`, left-padded batches, several images a prompt,
    scores and logits, streamers, and later turns on the returned `past_key_values` (their tokens are all kept; a
    `copy.deepcopy` of it works too). Everything else raises InputError before anything is computed: beam search,
    assisted and other decoding, continuous batching, chunked prefill, another cache, sliding windows, a compiled
    model, nested use (another thread's too), scores of another shape.

    A bare `model(...)` call makes its own cache and is not compressed. All threads that generate with this model
    meanwhile are compressed. Prompts above 4096 tokens run through norms and MLPs in chunks of that many tokens, which
    needs less memory (chunking.py).

    Args:
        model: a transformers vision-language model, neither compiled nor wrapped.
        policy: how many tokens each KV head keeps, and which.
        any_scores: accept head scores whose metadata names another model than `model.name_or_path`.
        cuda_graph: capture a decode step as a CUDA graph, once a `generate`, and replay it. Needs triton, the whole
            model on one CUDA device, and one thread.
        storage: how the kept tokens are stored. "int8" and "int4" quantise them (new tokens stay in full precision);
            "auto" keeps them exactly, in the Triton store on a GPU that can run it and in the torch store elsewhere.

    Yields:
        The run, which tells what the newest `generate` kept.

    Raises:
        InputError: for a model, a policy or options that cannot work together.
    """
    with CHANGING, ExitStack() as entering:
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
        images = entering.enter_context(_image_tokens(model)) if ranker_of(policy).needs_image else None
        for name, method in _methods(model, policy, run, storage, images).items():
            entering.enter_context(patched(model, name, method))
        if cuda_graph:
            entering.enter_context(patched(model, "forward", graphed_forward(model)))
        undo = entering.pop_all()
    try:
        yield run
    finally:
        with CHANGING:
            undo.close()
            run._finish()


@contextmanager
def _image_tokens(model: PreTrainedModel) -> Iterator[ImageTokens]:
    """A function that finds the image tokens of the forward pass that the calling thread is in."""
    prompt = threading.local()

    def note(module: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        prompt.ids = options.get("input_ids", args[0] if args else None)

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield lambda: find_image_tokens(model, prompt.ids)
    finally:
        hook.remove()


def _methods(
    model: PreTrainedModel, policy: Policy, run: Run, storage: str, images: ImageTokens | None
) -> dict[str, Callable[..., Any]]:
    """The methods that replace the model's own while it is compressed, by name."""
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
            selectors = [token_selector(policy, layer, num_layers, images) for layer in range(num_layers)]
            cache = RaggedCache(num_layers, selectors, session=run.session, storage=storage)
            cache.limit(max_cache_length)
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
