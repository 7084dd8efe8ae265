"""Progress bars and times of one `generate` call: prefill by layer, decode by token."""

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


class GenerationProgress(BaseStreamer):
    """Progress bars and times of one `generate` call with one row. A streamer, and a context manager around the call.

    Args:
        model: that generates.
        label: of the bars.
        max_new_tokens: of the call.
        shown: whether to show bars.
    """

    def __init__(self, model: PreTrainedModel, label: str, max_new_tokens: int, *, shown: bool) -> None:
        self._model = model
        options = {"file": sys.stderr, "disable": not shown, "delay": _DELAY, "leave": False}
        layers = text_layers(model)
        self._prefill = tqdm(total=len(layers), unit="layer", desc=f"{label}, prefill", **options)
        self._decode = tqdm(total=max_new_tokens, unit="token", desc=f"{label}, decode", **options)
        self._hooks = [layer.register_forward_hook(self._layer_done) for layer in layers]
        self._times: list[float] = []

    def __enter__(self) -> GenerationProgress:
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
        """Called by `generate` with the prompt, then with each new token on the CPU."""
        if value.dim() > 1:
            return
        self._prefill_over()
        self._times.append(time.perf_counter())
        self._decode.update()

    def end(self) -> None:
        """Called by `generate` at the end; nothing to do."""

    def _now(self) -> float:
        """The time, after the device has finished its work."""
        if self._model.device.type == "cuda":
            torch.cuda.synchronize(self._model.device)
        return time.perf_counter()

    @property
    def prefill_seconds(self) -> float:
        """Time to the first token, vision tower included."""
        return self._times[0] - self._start

    @property
    def decode_ms_per_token(self) -> float | None:
        """Mean time of the tokens after the first; None if there is only one."""
        steps = len(self._times) - 1
        return (self._times[-1] - self._times[0]) / steps * 1e3 if steps else None
