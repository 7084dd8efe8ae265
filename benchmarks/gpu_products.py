"""The matrix-vector products of a one-row step alone: ours in several tilings beside torch's, over all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_kernels import graphed, least_seconds
from torch.nn.functional import linear

from sparsemm.generation.fusing.layers import can_fuse_layers
from sparsemm.models.loading import shape
from sparsemm.models.text import text_layers

# Rows of one tile, channels at once, loads in flight, warps; the first is what the library takes.
_TILINGS = ((4, 512, 4, 4), (8, 512, 3, 4), (4, 1024, 3, 8), (2, 1024, 4, 4))
_Step = Callable[[Any], Any]  # the product of one layer


def product_rows(model: Any, settings: Any, time: Callable[..., float]) -> list[dict[str, Any]]:
    """One row a product and maker: microseconds for all layers of a step, GB of weights a second."""
    if not settings.triton or not can_fuse_layers(model):
        return []
    rows = []
    layers = text_layers(model)
    for product, makers in _products(model).items():
        weights = sum(weight.numel() * weight.element_size() for weight in _weights(product, layers))
        for maker, step in makers.items():
            row: dict[str, Any] = {"kernel": f"{product}: {maker}", "status": "ok"}
            try:
                with torch.no_grad():
                    run = graphed(lambda step=step: [step(layer) for layer in layers], model.device)
                    seconds = least_seconds(run, model.device, time)
                row |= {"us_all_layers": 1e6 * seconds, "gb_s": weights / seconds / 1e9}
            except Exception as error:  # as in gpu_kernels: the reason is the result
                row["status"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            rows.append(row)
    return rows


def _products(model: Any) -> dict[str, dict[str, _Step]]:
    from sparsemm.kernels.triton_gemv import Tiling, add, gate, project

    first: Any = text_layers(model)[0]
    like = first.self_attn.o_proj.weight
    head_dim = shape(model).head_dim
    hidden = torch.randn(like.shape[0], device=like.device).to(like.dtype)
    mixed = torch.randn(like.shape[1], device=like.device).to(like.dtype)
    inner = torch.randn(first.mlp.down_proj.in_features, device=like.device).to(like.dtype)
    turn = torch.ones(head_dim, device=like.device, dtype=like.dtype)

    def projected(layer: Any, tiling: Tiling) -> Any:
        norm, linears = layer.input_layernorm, _linears("project", layer)
        pairs: Any = tuple((each.weight, each.bias) for each in linears)
        return project(hidden, norm.weight, norm.variance_epsilon, pairs, (turn, turn), tiling)

    def gated(layer: Any, tiling: Tiling) -> Any:
        norm, (one, two) = layer.post_attention_layernorm, _linears("gate", layer)
        return gate(hidden, norm.weight, norm.variance_epsilon, one.weight, two.weight, tiling)

    ours = {
        "project": projected,
        "gate": gated,
        "output": lambda layer, tiling: add(mixed, layer.self_attn.o_proj.weight, hidden, tiling),
        "down": lambda layer, tiling: add(inner, layer.mlp.down_proj.weight, hidden, tiling),
    }
    given = {"project": hidden, "gate": hidden, "output": mixed, "down": inner}
    found: dict[str, dict[str, _Step]] = {}
    for name, step in ours.items():
        found[name] = {
            "torch": lambda layer, name=name: [
                linear(given[name][None, None], each.weight, each.bias) for each in _linears(name, layer)
            ]
        }
        for sizes in _TILINGS:
            tiling = Tiling(*sizes)
            label = "ours " + "x".join(str(size) for size in sizes)
            found[name][label] = lambda layer, step=step, tiling=tiling: step(layer, tiling)
    return found


def _linears(product: str, layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "project": [attention.q_proj, attention.k_proj, attention.v_proj],
        "gate": [mlp.gate_proj, mlp.up_proj],
        "output": [attention.o_proj],
        "down": [mlp.down_proj],
    }[product]


def _weights(product: str, layers: list[Any]) -> list[torch.Tensor]:
    return [each.weight for layer in layers for each in _linears(product, layer)]
