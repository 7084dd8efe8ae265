"""compress() and mask_heads(): plain `model.generate` with a compressed cache, or without some heads.

Both are context managers that undo everything on exit, also after an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.generation.configuration_utils import GenerationConfig, GenerationMode

from sparsemm.attention import NAME, switched, text_layers
from sparsemm.cache import Chooser, RaggedCache
from sparsemm.errors import InputError
from sparsemm.models import shape
from sparsemm.policies import Policy
from sparsemm.selection import pooled_attention, select

_HOOK = "_prepare_cache_for_generation"  # where `generate` makes its cache


class Run:
    """What the newest `generate` inside `compress` kept. `cache` is the cache itself, until the exit."""

    def __init__(self) -> None:
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
        if self.cache is not None:
            return self.cache.kept, self.cache.cache_bytes, self.cache.reserved_bytes
        if self._sizes is None:
            raise InputError("nothing was generated inside compress(...); call model.generate there first")
        return self._sizes

    def _finish(self) -> None:
        """Remember the sizes and let go of the cache."""
        if self.cache is not None:
            filled = all(layer.store is not None for layer in self.cache.ragged)
            self._sizes = self._measured() if filled else None
            self.cache.close()
            self.cache = None


def chooser(policy: Policy, layer: int, num_layers: int) -> Chooser:
    """What a cache layer keeps at prefill under this policy; pads are never kept."""

    def choose(
        query: torch.Tensor, key: torch.Tensor, valid: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        if policy.budget is None:
            everything = key.new_ones(key.shape[:3], dtype=torch.bool)
            return everything if valid is None else everything & valid[:, None]
        window = policy.window
        pooled = pooled_attention(
            query[:, :, -window:], key, window=window, kernel=policy.kernel, scaling=scaling, valid=valid
        )
        keep = policy.keep(pooled, layer=layer, num_layers=num_layers)
        return select(pooled, keep, window=window, valid=valid, tokens=key.shape[2])

    return choose


@contextmanager
def compress(model: PreTrainedModel, policy: Policy) -> Iterator[Run]:
    """Inside, `model.generate` keeps only what the policy keeps of every prompt.

    Greedy and sampled generation, `num_return_sequences`, left-padded batches, and later turns on the
    returned `past_key_values` (their tokens are kept whole) work. Beam search, assisted decoding, chunked
    prefill, another cache, sliding windows, nested use and scores of another model raise InputError before
    anything is computed. A bare `model(...)` call makes its own cache and is not compressed.
    """
    _check(model, policy)
    sizes = shape(model)
    run = Run()
    before = vars(model).get(_HOOK)

    def prepare(
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        _check_generation(generation_config, generation_mode)
        given = model_kwargs.get("past_key_values")
        if given is None:
            layers = range(sizes.num_layers)
            choosers = [chooser(policy, layer, sizes.num_layers) for layer in layers]
            run.cache = RaggedCache(sizes.num_layers, choosers, max_length=max_cache_length)
        elif isinstance(given, RaggedCache) and not given.closed:
            given.grow(max_cache_length - given.get_seq_length())
            run.cache = given
        else:
            raise InputError(
                f"past_key_values is a {type(given).__name__} from outside this compress(...); leave it out, "
                "or give the cache that a generate call inside returned"
            )
        model_kwargs["past_key_values"] = run.cache

    with switched(model, NAME):
        try:
            vars(model)[_HOOK] = prepare
            yield run
        finally:
            if before is None:
                vars(model).pop(_HOOK, None)
            else:
                vars(model)[_HOOK] = before
            run._finish()


def _check(model: PreTrainedModel, policy: Policy) -> None:
    """Raise InputError for a model or policy that cannot work."""
    text = model.config.get_text_config()
    if text._attn_implementation == NAME:
        raise InputError("the model is inside compress(...) already; leave it before entering again")
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if getattr(text, "sliding_window", None) is not None or kinds != {"full_attention"}:
        raise InputError(
            f"{type(model).__name__} uses sliding-window attention (sliding_window="
            f"{getattr(text, 'sliding_window', None)}); set config.text_config.sliding_window to None"
        )
    sizes = shape(model)
    scores = getattr(policy, "scores", None)
    found = tuple(getattr(getattr(scores, "values", scores), "shape", ()))
    fitting = [(sizes.num_layers, sizes.num_kv_heads), (sizes.num_layers, sizes.num_heads)]
    if scores is not None and found not in fitting:
        raise InputError(
            f"the {policy.name} policy has scores of shape {found}, the model needs {fitting[0]} or "
            f"{fitting[1]}; use scores of this model"
        )


def _check_generation(config: GenerationConfig, mode: GenerationMode) -> None:
    """Raise InputError for a way to generate that a compressed cache cannot follow."""
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise InputError(
            f"compress(...) cannot follow {mode.value}; generate greedily or sample, num_beams=1"
        )
    if config.cache_implementation not in (None, "dynamic"):
        raise InputError(
            f"compress(...) makes its own cache; leave out cache_implementation {config.cache_implementation}"
        )
    if config.prefill_chunk_size is not None:
        raise InputError("compress(...) ranks whole prompts; leave out prefill_chunk_size")
    if config.use_cache is False:
        raise InputError("compress(...) needs the cache; leave out use_cache=False")


class HeadMask:
    """Query heads whose outputs are zeroed: bool [B, L, Hq] (or [1, L, Hq] for every row), True = zeroed.

    `keep_rows` follows a batch from which finished rows are dropped.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Go on with these rows (int64 indexes) of the batch."""
        if self.mask.shape[0] > 1:
            self.mask = self.mask[rows.to(self.mask.device)]

    def hook(self, layer: int) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A forward pre-hook for the layer's output projection."""

        def zero(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = args[0]  # [B, q, Hq * D], head after head
            rows = self.mask[:, layer].to(hidden.device)
            if rows.shape[0] not in (1, hidden.shape[0]):
                raise InputError(f"head masks of {rows.shape[0]} rows meet a batch of {hidden.shape[0]}")
            heads = hidden.view(*hidden.shape[:-1], rows.shape[1], -1)
            return (heads.masked_fill(rows[:, None, :, None], 0.0).flatten(-2), *args[1:])

        return zero


@contextmanager
def mask_rows(model: PreTrainedModel, mask: torch.Tensor) -> Iterator[HeadMask]:
    """Inside, row b of every batch runs without the query heads that mask[b] names: bool [B or 1, L, Hq]."""
    sizes = shape(model)
    if mask.dtype != torch.bool or mask.shape[1:] != (sizes.num_layers, sizes.num_heads):
        raise InputError(
            f"head mask {tuple(mask.shape)} of {mask.dtype} does not fit; give bool "
            f"[rows, {sizes.num_layers}, {sizes.num_heads}]"
        )
    state = HeadMask(mask)
    handles = []
    try:
        for index, layer in enumerate(text_layers(model)):
            if bool(mask[:, index].any()):
                attention: Any = layer.self_attn
                handles.append(attention.o_proj.register_forward_pre_hook(state.hook(index)))
        yield state
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mask_heads(model: PreTrainedModel, heads: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Inside, the outputs of these query heads (layer, head) are zero, whatever the attention implementation.

    Raises InputError for a pair that the model does not have.
    """
    sizes = shape(model)
    mask = torch.zeros(1, sizes.num_layers, sizes.num_heads, dtype=torch.bool)
    for pair in heads:
        try:
            layer, head = (int(number) for number in pair)
        except (TypeError, ValueError) as error:
            raise InputError(f"head {pair!r} is not a (layer, head) pair of numbers") from error
        if not (0 <= layer < sizes.num_layers and 0 <= head < sizes.num_heads):
            raise InputError(
                f"head ({layer}, {head}) does not exist; the model has layers 0 to {sizes.num_layers - 1} "
                f"and query heads 0 to {sizes.num_heads - 1}"
            )
        mask[0, layer, head] = True
    with mask_rows(model, mask):
        yield
