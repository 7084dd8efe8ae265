"""Count the kernels of one decode step, plain and fused, on tiny models of the three classes; needs triton, no GPU.

TRITON_INTERPRET=1 python benchmarks/gpu_launches.py
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import gpu_models
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation.fusing import Fusion, fused, fused_layers
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.kernels import triton_decode, triton_fused, triton_gemv
from sparsemm.policies import FullKV

# What makes a view or an uninitialised tensor launches nothing.
_FREE = (
    "view",
    "transpose",
    "expand",
    "slice",
    "unsqueeze",
    "select",
    "reshape",
    "permute",
    "as_strided",
    "detach",
)
_FREE += ("split", "aten.t.", "alias", "empty", "squeeze", "prim", "unbind")
_TRITON = [(triton_decode, name) for name in ("split_one", "split_group", "combine")]
_TRITON += [(triton_fused, name) for name in ("_rms_norm", "_gated_silu", "_rotate")]
_TRITON += [(triton_gemv, name) for name in ("_project", "_gate", "_add")]


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not any(part in str(function) for part in _FREE):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))

    def __getitem__(self, grid: Any) -> Any:
        """In place of a Triton kernel: counts the launch and does nothing."""
        return lambda *args, **options: self.names.append("triton")


def kernels(name: str, layers: int, fusion: Fusion | None = None) -> list[str]:
    """The kernels of one step of a tiny model with so many layers, in order."""
    kind, config = gpu_models._config(name, True)
    config.text_config.num_hidden_layers = layers
    if getattr(config.text_config, "layer_types", None):
        config.text_config.layer_types = ["full_attention"] * layers
    model = kind._from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    counter, before = _Counter(), [vars(module)[kernel] for module, kernel in _TRITON]
    with ragged_attention_in(model), torch.no_grad():
        cache, token, place = prefill(
            model, gpu_models.build_prompt(model, 160)[0], FullKV(), 8, storage="triton"
        )
        loop = GreedyLoop(model, cache, token, place, graph=False)
        try:
            for module, kernel in _TRITON:
                setattr(module, kernel, counter)
            with counter, fusion(model) if fusion else nullcontext():
                loop.run(1)
        finally:
            for (module, kernel), plain in zip(_TRITON, before):
                setattr(module, kernel, plain)
    return counter.names[:-1]  # the last copies the token out of the loop


if __name__ == "__main__":
    for model_name in gpu_models.MODELS:
        for fusing in (None, fused, fused_layers):
            two, three = (len(kernels(model_name, layers, fusing)) for layers in (2, 3))
            called = fusing.__name__ if fusing else "plain"
            print(f"{model_name} {called}: {three - two} a layer, {two - 2 * (three - two)} around")
