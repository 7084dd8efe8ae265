"""GreedyLoop: greedy decode over a packed cache without synchronising with the host.

The step reads and writes static tensors; on CUDA it is one graph.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.cache.ragged import RaggedCache
from sparsemm.generation.fusing import Fusion
from sparsemm.generation.graphs import fused_step


class GreedyLoop:
    """Greedy decode over a packed cache; an end token does not stop it.

    Use it only inside `ragged_attention_in(model)` and `torch.no_grad()`.

    Args:
        model: the model of the cache.
        cache: a filled cache with slots for all steps.
        token: int64 [R, 1], the first token to feed.
        positions: its `position_ids`, [R, 1] or Qwen's [3, R, 1].
        graph: with Triton stores, run the step as a `fused_step`; other stores always run it eagerly.

    Attributes:
        fusion: the fusion of the step; None when it runs eagerly.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        cache: RaggedCache,
        token: torch.Tensor,
        positions: torch.Tensor,
        *,
        graph: bool = True,
    ) -> None:
        self.cache = cache
        self._begin = (token.clone(), positions.clone())
        self._seen = cache.get_seq_length()
        self.token, self.positions = token.clone(), positions.clone()
        model_: Any = model
        text, head = model_.get_decoder(), model_.get_output_embeddings()

        # `step` does not use self: a reference cycle would keep the cache until the garbage collector runs.
        token, positions = self.token, self.positions

        def step() -> torch.Tensor:
            out = text(input_ids=token, position_ids=positions, past_key_values=cache, use_cache=True)
            token.copy_(head(out.last_hidden_state).argmax(-1))
            positions.add_(1)
            return token

        self._step: Any = step
        self.fusion: Fusion | None = None
        fixed = all(hasattr(layer.filled(), "counts") for layer in cache.ragged)
        if graph and fixed:
            self._step, self.fusion = fused_step(model, cache, step, (self.token, self.positions))

    def run(self, steps: int) -> torch.Tensor:
        """The next `steps` tokens, int64 [R, steps], without waiting for the device."""
        tokens = self.token.new_empty(len(self.token), steps)
        for step in range(steps):
            tokens[:, step : step + 1] = self._step()
        return tokens

    def rewind(self) -> None:
        """Go back to the first token; slots that were filled since are overwritten before they are read."""
        for layer in self.cache.ragged:
            layer.filled().grown = 0
            layer.seen = self._seen
        self.token.copy_(self._begin[0])
        self.positions.copy_(self._begin[1])
