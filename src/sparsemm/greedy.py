"""Generation by hand: `prefill` into a packed cache, then `GreedyLoop`, which decodes without the host in it.

The loop's step reads and writes static tensors; on CUDA it is one graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache import Chooser, RaggedCache
from sparsemm.chunking import chunked
from sparsemm.compress import chooser
from sparsemm.families import family_of
from sparsemm.fusing import Way
from sparsemm.graphs import fused_step
from sparsemm.models import shape
from sparsemm.policies import Policy


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
    """Run an unpadded prompt into a packed cache with room for `reserve` tokens.

    Returns the cache, its first new token, int64 [1, 1], and the `position_ids` of that. Only inside
    `switched(model)`. choosers: in place of the policy's own, one a layer; storage: see `RaggedLayer`.
    """
    layers = shape(model).num_layers
    choosers = choosers or [chooser(policy, layer, layers) for layer in range(layers)]
    cache = RaggedCache(layers, choosers, reserve=reserve, storage=storage)
    family = family_of(model)
    whole = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    positions, following = family.prefill_positions(model, whole)
    rest = {name: value for name, value in inputs.items() if name != "attention_mask"}
    options = {**rest, "position_ids": positions, "past_key_values": cache, "use_cache": True}
    model_: Any = model
    with chunked(model):
        out = model_.get_decoder()(**_text_inputs(model_, options))
    token = model_.get_output_embeddings()(out.last_hidden_state[:, -1:]).argmax(-1)
    return cache, token, family.decode_positions(following)


class _Reached(Exception):
    """The text model was called."""


def _text_inputs(model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What the model's forward gives its text model.

    A forward keeps the images' features, twice, until the text model is done. Left at that call and begun again with
    the text model alone, they are gone: at 32K tokens two of the about ten hidden states of the peak.
    """
    given: dict[str, Any] = {}

    def take(module: Any, positional: tuple[()], named: dict[str, Any]) -> None:
        assert not positional
        given.update(named)
        raise _Reached

    hook = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    try:
        model(**options)
    except _Reached:
        pass
    finally:
        hook.remove()
    return given


class GreedyLoop:
    """Greedy tokens over a packed cache, whatever they are (an end token does not end it)."""

    def __init__(
        self,
        model: PreTrainedModel,
        cache: RaggedCache,
        token: torch.Tensor,
        positions: torch.Tensor,
        *,
        graph: bool = True,
    ) -> None:
        """token int64 [R, 1]: the first one to feed; positions: where it stands, [R, 1] or Qwen's [3, R, 1].

        Only inside `switched(model)` and `torch.no_grad()`, as `run` is. With the Triton store the step is a
        `fused_step`, unless graph is False; another store runs it eagerly. `way`: how it is fused.
        """
        self.cache = cache
        self._begin = (token.clone(), positions.clone())
        self._seen = cache.get_seq_length()
        self.token, self.positions = token.clone(), positions.clone()
        model_: Any = model
        text, head = model_.get_decoder(), model_.get_output_embeddings()

        # Not by way of self: a circle of references would keep the cache until Python looks for such circles.
        token, positions = self.token, self.positions

        def step() -> torch.Tensor:
            out = text(input_ids=token, position_ids=positions, past_key_values=cache, use_cache=True)
            token.copy_(head(out.last_hidden_state).argmax(-1))
            positions.add_(1)
            return token

        self._step: Any = step
        self.way: Way | None = None
        fixed = all(hasattr(layer.filled(), "counts") for layer in cache.ragged)
        if graph and fixed:
            self._step, self.way = fused_step(model, cache, step, (self.token, self.positions))

    def run(self, steps: int) -> torch.Tensor:
        """The next `steps` tokens, int64 [R, steps]; the host does not wait for them."""
        tokens = self.token.new_empty(len(self.token), steps)
        for step in range(steps):
            tokens[:, step : step + 1] = self._step()
        return tokens

    def rewind(self) -> None:
        """Back to where the loop began: what stands in the spare room is written over before it is read."""
        for layer in self.cache.ragged:
            layer.filled().grown = 0
            layer.seen = self._seen
        self.token.copy_(self._begin[0])
        self.positions.copy_(self._begin[1])
