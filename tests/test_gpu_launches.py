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

import gpu_models  # noqa: E402
from gpu_launches import count  # noqa: E402


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_a_fused_layer_has_fifteen_kernels(name: str) -> None:
    plain, fused = (count(name, 3, fuse) - count(name, 2, fuse) for fuse in (False, True))
    assert fused == 15
    assert plain > 2 * fused
