"""compress_prefix(): compress the part of a prompt up to its last image token once, then ask any number of questions.

The question is not known when the prefix is ranked, so its tokens cannot help to choose: question-agnostic compression.
A question's cache shares the compressed prefix until it is written to, and then copies it (copy on write).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache.ragged import RaggedCache, Session
from sparsemm.errors import InputError
from sparsemm.families import family_of
from sparsemm.generation.compress import compress
from sparsemm.generation.prefix_inputs import PrefixInputs, parts_after
from sparsemm.generation.selector import find_image_tokens, token_selector
from sparsemm.models.loading import shape
from sparsemm.policies import Policy

__all__ = ["GENERIC_INSTRUCTION", "Prefix", "compress_prefix", "instruction_tokens"]

GENERIC_INSTRUCTION = "Describe everything in the image and read all of its text."
RANK_BY = ("window", "instruction")


class Prefix:
    """A compressed prefix; made by `compress_prefix`, usable until its context closes.

    Attributes:
        input_ids: int64 [B, P], left padded: every row's tokens up to its last image token.
        attention_mask: int64 [B, P], 0 at pads.
    """

    def __init__(self, model: PreTrainedModel, inputs: PrefixInputs, cache: RaggedCache) -> None:
        self.input_ids, self.attention_mask = inputs.ids, inputs.mask
        self._model, self._inputs, self._cache = model, inputs, cache

    @property
    def kept(self) -> torch.Tensor:
        """Tokens of the prefix that are kept, int64 [L, B, Hkv]."""
        return self._cache.kept

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values kept."""
        return self._cache.cache_bytes

    def generate(self, *, num_return_sequences: int = 1, **inputs: Any) -> Any:
        """`model.generate` of whole prompts that begin with the prefix; only what follows it is computed.

        Args:
            num_return_sequences: answers a prompt, as in `generate`.
            **inputs: what `model.generate` gets: `input_ids` and `attention_mask` of the whole prompts, left padded,
                one a row of the prefix, or any number for a prefix of one row; then options such as `max_new_tokens`.
                Pixels may be left out, and are not read: the prefix holds the image.

        Returns:
            As `model.generate`. A returned `past_key_values` takes no further turn: give the whole conversation here.

        Raises:
            InputError: for prompts that do not begin with the prefix, end with it, or have images after it.
        """
        if inputs.get("input_ids") is None:
            raise InputError("prefix.generate(...) needs input_ids; give all that the processor returns")
        given = inputs.pop("input_ids")
        mask = inputs.pop("attention_mask", None)
        options = {name: value for name, value in inputs.items() if name not in self._inputs.vision}
        for name in ("mm_token_type_ids", "pixel_values", "image_grid_thw", "image_sizes"):
            options.pop(name, None)
        if options.get("past_key_values") is not None or options.get("position_ids") is not None:
            raise InputError("prefix.generate(...) has its own past_key_values and positions; leave them out")
        image_token = shape(self._model).image_token_id
        after = parts_after(self._inputs, given, mask, image_token)
        whole = self._inputs.followed_by(*after)
        positions, _ = family_of(self._model).prefill_positions(self._model, whole)
        rows = torch.arange(len(given), device=given.device).repeat_interleave(num_return_sequences)
        cache = self.cache(rows if len(self.input_ids) > 1 else torch.zeros_like(rows))
        generate: Any = self._model.generate
        out: Any = generate(
            input_ids=whole["input_ids"][rows],
            attention_mask=whole["attention_mask"][rows],
            position_ids=positions[..., rows, :],
            past_key_values=cache,
            **options,
        )
        _close(cache)
        fed = whole["input_ids"].shape[1]
        sequences = out if isinstance(out, torch.Tensor) else out.sequences
        sequences = torch.cat([given[rows].to(sequences.device), sequences[:, fed:]], 1)
        if isinstance(out, torch.Tensor):
            return sequences
        out.sequences = sequences
        return out

    def cache(self, rows: torch.Tensor | None = None) -> RaggedCache:
        """A cache that shares the prefix's until it grows, for a decode loop of your own.

        Args:
            rows: int64 indexes of the prefix's rows, each any number of times (then copied at once); None: all, shared.
        """
        count = len(self.input_ids)
        if rows is not None and not torch.equal(rows.cpu(), torch.arange(count)):
            made = copy.copy(self._cache)
            made.ragged = [layer.combine([(layer, rows)], 0) for layer in self._cache.ragged]
        else:
            made = copy.copy(self._cache)
            made.ragged = [
                copy.copy(layer) for layer in self._cache.ragged
            ]  # the store has no room: growing copies
        made.layers = list(made.ragged)
        return made


def _close(cache: RaggedCache) -> None:
    """Make a returned cache refuse further turns: their positions would not be those of the prompt."""
    cache.session = Session()
    cache.session.open = False
    for layer in cache.ragged:
        layer.session = cache.session


@contextmanager
def compress_prefix(
    model: PreTrainedModel,
    policy: Policy,
    inputs: Mapping[str, Any],
    *,
    rank_by: str = "window",
    processor: Any = None,
    instruction: str = GENERIC_INSTRUCTION,
    any_scores: bool = False,
    storage: str = "auto",
) -> Iterator[Prefix]:
    """Compress what prompts share up to their last image token, then answer questions about it.

    With `rank_by="window"` the prefix is ranked as a prompt of its own: by its own last tokens, where the policy ranks
    by a window. With "instruction" a fixed text follows it while it is ranked, and its keys and values are dropped
    afterwards. Either way a KV head keeps as much of the prefix as the policy keeps of a prompt, the prefix's newest
    `window` tokens among it, and all of the question.

    Inside the context `model.generate` compresses as in `compress`, and the model is restored on exit.

    Args:
        model: a transformers vision-language model, neither compiled nor wrapped.
        policy: how many tokens each KV head keeps, and which.
        inputs: what `generate` would get for any prompt with the image: a left-padded batch, each row with at least one
            image. What follows a row's last image token is not read.
        rank_by: "window" or "instruction".
        processor: of the model; its tokenizer reads the instruction. Needed for "instruction" alone.
        instruction: the text.
        any_scores: as in `compress`.
        storage: as in `compress`.

    Yields:
        The prefix, whose `generate` answers questions.

    Raises:
        InputError: for what `compress` refuses, a row without an image, or an instruction without a processor.
    """
    if rank_by not in RANK_BY:
        raise InputError(f"rank_by={rank_by!r} is not known; use {' or '.join(RANK_BY)}")
    image_token = shape(model).image_token_id
    prefix = PrefixInputs.of(inputs, image_token)
    asked = None if rank_by == "window" else instruction_tokens(processor, instruction, prefix.ids)
    with compress(model, policy, any_scores=any_scores, storage=storage) as run:
        cache = _prefill(model, policy, prefix, asked, run.session, storage)
        yield Prefix(model, prefix, cache)


def instruction_tokens(processor: Any, instruction: str, like: torch.Tensor) -> torch.Tensor:
    """The instruction's tokens, int64 [1, I], without special ones."""
    if processor is None:
        raise InputError('rank_by="instruction" needs the tokenizer; give processor=')
    encoded = processor.tokenizer("\n" + instruction, add_special_tokens=False, return_tensors="pt")
    ids: torch.Tensor = encoded["input_ids"].to(like.device)
    if ids.shape[1] == 0:
        raise InputError("instruction: it has no tokens; give a text")
    return ids


@torch.no_grad()
def _prefill(
    model: PreTrainedModel,
    policy: Policy,
    prefix: PrefixInputs,
    asked: torch.Tensor | None,
    session: Session,
    storage: str,
) -> RaggedCache:
    """The compressed cache of the prefix, which has no room for further tokens."""
    rows, length = prefix.ids.shape
    # Positions of a prompt need text after the image: one token stands in for it.
    after = prefix.ids.new_zeros(rows, 1) if asked is None else asked.expand(rows, -1)
    whole = prefix.followed_by(after, torch.ones_like(after))
    positions, _ = family_of(model).prefill_positions(model, whole)
    fed = length if asked is None else length + asked.shape[1]
    given = {name: whole[name][:, :fed] for name in whole if name not in prefix.vision}
    mask = given.pop("attention_mask")
    layers = shape(model).num_layers
    images = functools.partial(find_image_tokens, model, given["input_ids"])
    selectors = [token_selector(policy, layer, layers, images, length=length) for layer in range(layers)]
    cache = RaggedCache(layers, selectors, session=session, storage=storage)
    model(
        **given,
        **prefix.vision,
        attention_mask=None if bool((mask == 1).all()) else mask,
        position_ids=positions[..., :fed],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    for layer in cache.ragged:
        layer.seen = length
    return cache
