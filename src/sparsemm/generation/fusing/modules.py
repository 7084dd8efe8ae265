"""fused(model): while it is open, a one-token step of the text model runs fewer and larger kernels, with equal results.

It is meant for the moment in which a CUDA graph is captured: the graph keeps the kernels, the model does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.models.text import text_layers

_ROTARY = "apply_rotary_pos_emb"


@contextmanager
def fused(model: PreTrainedModel) -> Iterator[None]:
    """Norms, rotary positions and gated SiLU MLPs of the text model as one launch each; undone on exit.

    Parts that are built otherwise are left alone. Needs triton. For one thread: the function for rotary positions is
    changed for every model of the same class meanwhile.
    """
    from sparsemm.kernels.triton_fused import gated_silu, rms_norm, rotate

    changed: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in model.get_decoder().modules():  # type: ignore[no-untyped-call]
            if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
                _put(changed, vars(module), "forward", _norm(module, rms_norm))
            elif _is_gated(module):
                _put(changed, vars(module), "forward", _gated(module, gated_silu))
        attention: Any = text_layers(model)[0].self_attn
        names = vars(sys.modules[type(attention).__module__])
        if _ROTARY in names:
            _put(changed, names, _ROTARY, _rotary(names[_ROTARY], rotate))
        yield
    finally:
        for place, name, before in reversed(changed):
            if before is None:
                del place[name]
            else:
                place[name] = before


def _put(
    changed: list[tuple[dict[str, Any], str, Any]], place: dict[str, Any], name: str, value: Any
) -> None:
    changed.append((place, name, place.get(name)))
    place[name] = value


def _is_gated(module: torch.nn.Module) -> bool:
    parts = all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn"))
    return parts and type(module.act_fn).__name__ in ("SiLU", "SiLUActivation")


def _norm(module: Any, rms_norm: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    plain = module.forward

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.dtype != module.weight.dtype or hidden.shape[-1] > 1 << 14:
            out: torch.Tensor = plain(hidden)
            return out
        return rms_norm(hidden, module.weight, module.variance_epsilon)

    return forward


def _gated(module: Any, gated_silu: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = module.down_proj(gated_silu(module.gate_proj(hidden), module.up_proj(hidden)))
        return out

    return forward


def _rotary(plain: Callable[..., Any], rotate: Callable[..., Any]) -> Callable[..., Any]:
    def apply(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *rest: Any) -> Any:
        simple = not rest and q.shape[2] == 1 and cos.shape[-1] == q.shape[-1] and cos.dtype == q.dtype
        return rotate(q, k, cos, sin) if simple and cos.dim() == 3 else plain(q, k, cos, sin, *rest)

    return apply
