"""A decode step's kernels, counted: what fusing is for does not creep back in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: pip install 'sparsemm[dev]'")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("Triton kernels are counted in the interpreter, where no GPU is", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import gpu_models
from gpu_launches import kernels


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_a_fused_layer_has_fifteen_kernels(name: str) -> None:
    plain, fused = (len(kernels(name, 3, fuse)) - len(kernels(name, 2, fuse)) for fuse in (False, True))
    assert fused == 15
    assert plain > 2 * fused


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_a_step_under_capture_never_asks_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers takes other branches while a stream is captured; a look at a value there would break the capture."""
    monkeypatch.setattr("transformers.utils.import_utils.is_cuda_stream_capturing", lambda: True)
    asked = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "unique", "masked_select")
    assert not [each for each in kernels(name, 2, True) if any(part in each for part in asked)]
