"""The kernels of a decode step, counted: fusing must keep their number down."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sparsemm import SnapKV
from sparsemm.generation.compress import compress
from sparsemm.generation.fusing import Fusion, fused, fused_layers
from sparsemm.generation.graphs import GraphStep, graphed_forward

from helpers.interpreter import needs_triton

needs_triton(without_gpu=True)

import gpu_models  # noqa: E402
from gpu_launches import kernels  # noqa: E402


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_a_layer_is_fifteen_kernels_with_fused_modules_and_six_whole(name: str) -> None:
    plain, modules, whole = (
        len(kernels(name, 3, way)) - len(kernels(name, 2, way)) for way in (None, fused, fused_layers)
    )
    assert (modules, whole) == (15, 6)
    assert plain > 2 * modules


@pytest.mark.parametrize("way", [fused, fused_layers])
@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_a_step_under_capture_never_asks_the_device(
    name: str, way: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers takes other branches while a stream is captured; a look at a value there would break the capture."""
    monkeypatch.setattr("transformers.utils.import_utils.is_cuda_stream_capturing", lambda: True)
    asked = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "unique", "masked_select")
    assert not [each for each in kernels(name, 2, way) if any(part in each for part in asked)]


class _NoQuestions(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(function), "the host waits for a value"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_generate_under_capture_never_asks_either(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsemm.cache.stores.registry._automatic", lambda like: "triton")
    monkeypatch.setattr("transformers.utils.import_utils.is_cuda_stream_capturing", lambda: True)
    model = gpu_models.build_model(name, torch.device("cpu"), torch.float32, tiny=True)
    inputs = gpu_models.build_prompt(model, 160)[0]
    steps, plain = [], GraphStep.__call__

    def watched(step):
        steps.append(step)
        with _NoQuestions():
            return plain(step)

    monkeypatch.setattr(GraphStep, "__call__", watched)
    options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with compress(model, SnapKV(24, window=8)):
        expected = model.generate(**inputs, **options)
        monkeypatch.setattr(model, "forward", graphed_forward(model), raising=False)
        assert torch.equal(model.generate(**inputs, **options), expected)
    assert len(steps) == 2
