"""What a generate call is doing: a bar over the layers of the prefill, one over the tokens, and their times."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from sparsemm.models.text import text_layers

_DELAY = 2.0  # seconds of work before a bar is shown


class Watch(BaseStreamer):
    """A streamer and context manager around one `generate` of one row."""

    def __init__(self, model: PreTrainedModel, label: str, max_new_tokens: int, *, shown: bool) -> None:
        self._model = model
        options = {"file": sys.stderr, "disable": not shown, "delay": _DELAY, "leave": False}
        layers = text_layers(model)
        self._prefill = tqdm(total=len(layers), unit="layer", desc=f"{label}, prefill", **options)
        self._decode = tqdm(total=max_new_tokens, unit="token", desc=f"{label}, decode", **options)
        self._hooks = [layer.register_forward_hook(self._layer_done) for layer in layers]
        self._times: list[float] = []

    def __enter__(self) -> Watch:
        self._start = self._now()
        return self

    def __exit__(self, *exc: object) -> None:
        self._prefill_over()
        self._decode.close()

    def _layer_done(self, *_: Any) -> None:
        self._prefill.update()

    def _prefill_over(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        self._prefill.close()

    def put(self, value: torch.Tensor) -> None:
        """Called by generate with the prompt, then with each token (already on the CPU: it is done)."""
        if value.dim() > 1:
            return
        self._prefill_over()
        self._times.append(time.perf_counter())
        self._decode.update()

    def end(self) -> None:
        """Nothing is held back."""

    def _now(self) -> float:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter()

    @property
    def prefill_seconds(self) -> float:
        """Until the first token, the vision tower included."""
        return self._times[0] - self._start

    @property
    def decode_ms_per_token(self) -> float | None:
        """Mean of the tokens after the first; None if there is only one."""
        steps = len(self._times) - 1
        return (self._times[-1] - self._times[0]) / steps * 1e3 if steps else None
