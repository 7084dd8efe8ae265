"""GreedyLoop: greedy decode over a packed cache, without the host in it.

The step reads and writes static tensors; on CUDA it is one graph.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache.ragged import RaggedCache
from sparsemm.generation.fusing import Way
from sparsemm.generation.graphs import fused_step


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

        Only inside `ragged_attention_in(model)` and `torch.no_grad()`, as `run` is. With the Triton store the step is a
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
