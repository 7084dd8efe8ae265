"""fused(model): inside, a one-token step of the text model runs fewer and larger kernels, with equal results.

Meant for the capture of a CUDA graph: the graph keeps the kernels, the model is put back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.models.patching import wrapped, wrapped_rotary

_KEY = "fused"


@contextmanager
def fused(model: PreTrainedModel) -> Iterator[None]:
    """Inside, norms, RoPE and gated SiLU MLPs of the text model take one launch each; undone on exit.

    Modules of another structure are left alone. Needs triton. For one thread: the function that applies RoPE is changed
    for every model of the same class meanwhile.
    """
    with ExitStack() as undo:
        for module in model.get_decoder().modules():  # type: ignore[no-untyped-call]
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                undo.enter_context(
                    wrapped(module, "forward", functools.partial(_fused_norm, module), shared=_KEY)
                )
            elif _is_gated_silu(module):
                undo.enter_context(
                    wrapped(module, "forward", functools.partial(_fused_mlp, module), shared=_KEY)
                )
        undo.enter_context(wrapped_rotary(model, _fused_rotary, shared=_KEY))
        yield


def _is_gated_silu(module: torch.nn.Module) -> bool:
    parts = all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn"))
    return parts and type(module.act_fn).__name__ in ("SiLU", "SiLUActivation")


def _fused_norm(module: Any, plain: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    from sparsemm.kernels.triton_fused import rms_norm

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.dtype != module.weight.dtype or hidden.shape[-1] > 1 << 14:
            out: torch.Tensor = plain(hidden)
            return out
        return rms_norm(hidden, module.weight, module.variance_epsilon)

    return forward


def _fused_mlp(module: Any, plain: Callable[..., Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    from sparsemm.kernels.triton_fused import gated_silu

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = module.down_proj(gated_silu(module.gate_proj(hidden), module.up_proj(hidden)))
        return out

    return forward


def _fused_rotary(plain: Callable[..., Any]) -> Callable[..., Any]:
    from sparsemm.kernels.triton_fused import rotate

    def apply(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *rest: Any) -> Any:
        simple = not rest and q.shape[2] == 1 and cos.shape[-1] == q.shape[-1] and cos.dtype == q.dtype
        return rotate(q, k, cos, sin) if simple and cos.dim() == 3 else plain(q, k, cos, sin, *rest)

    return apply
