"""Every kernel compiled for an H200 (sm_90) and an A100 (sm_80) without one, at the shapes of the 7B models."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.interpreter import installed_triton

COMPILE = """
import re, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sparsemm.kernels import triton_fused as fused, triton_split as split
from sparsemm.kernels import triton_gemv as gemv, triton_window as window

NUMBERS = {"scaling": "fp32", "epsilon": "fp32", "starts": "*i64"}
NUMBERS |= dict.fromkeys(("lengths", "used", "sequences", "chunks", "first"), "*i32")
NUMBERS |= dict.fromkeys(("part_out", "part_lse", "part_max", "part_sum"), "*fp32")
POINTERS = "query key value keys values new_keys new_values hidden weight out gate up cos sin query_out key_out norm "
POINTERS += "query_bias key_bias value_bias vector residual"
NUMBERS |= dict.fromkeys(POINTERS.split(), "*bf16")


def made(arch, kernel, warps, at_least, shared, **constants):
    names = [parameter.name for parameter in kernel.params]
    kinds = NUMBERS | dict.fromkeys(constants, "constexpr")
    if kernel is window._mean:
        kinds["out"] = "*fp32"
    signature = {name: kinds.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    if kernel in (window._statistics, window._mean):
        aligned |= {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n.startswith(("query_", "key_"))}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    done = triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"num_warps": warps})
    what = f"sm_{arch} {kernel.__name__} {constants}"
    ahead = len(re.findall(r"cp[.]async[.]cg[.]shared[.]global [^;]*, 0x10", done.asm["ptx"]))
    assert ahead >= at_least, f"{what}: {ahead} loads of 16 bytes ahead of their use"
    assert done.metadata.shared <= shared, f"{what}: {done.metadata.shared} bytes of shared memory"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(done.asm["cubin"])
        file.flush()
        tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        used = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in used and "LOCAL:0 " in used, f"{what}: registers are spilled: {used}"


for arch in map(int, sys.argv[1:]):
    for heads, group, width in ((32, 1, 128), (8, 4, 128), (4, 7, 128), (8, 1, 80), (8, 2, 64), (8, 1, 96)):
        sizes = dict(WIDTH=width, PADDED=triton.next_power_of_2(width), CHUNK=64)
        kernel, grouped = (split.split_group, dict(GROUP=group, ROWS=16)) if group > 1 else (split.split_one, {})
        # Four programs share a multiprocessor of 228 KB.
        made(arch, kernel, 4, 4, 57_000, HEADS=heads, BLOCK=32, FRESH=1, **sizes, **grouped)
        for merged, warps in ((16, 4), (64, 4), (128, 8)):
            made(arch, split.combine, warps, 0, 8_000, GROUP=group, MERGED=merged, **sizes)
    tiling = gemv.TILING
    tiles = dict(TILE=tiling.rows, BLOCK=tiling.channels, STAGES=tiling.stages)
    # Seven programs share one.
    streamed = (arch, tiling.warps, 4 * (tiling.stages - 1), 32_000)
    for kernel, sizes in (
        (gemv._project, dict(QUERIES=32, KEYS=32, HALF=64, WIDTH=4096, BIAS=False)),
        (gemv._project, dict(QUERIES=28, KEYS=4, HALF=64, WIDTH=3584, BIAS=True)),
        (gemv._gate, dict(WIDTH=4096)),
        (gemv._add, dict(WIDTH=11008)),
        (gemv._add, dict(WIDTH=18944)),
    ):
        made(streamed[0], kernel, *streamed[1:], **sizes, **tiles)
    for heads, group in ((32, 1), (28, 7)):
        sizes = dict(HEADS=heads, GROUP=group, WINDOW=32, ROWS=32, WIDTH=128, PADDED=128, BLOCK=window._BLOCK)
        made(arch, window._statistics, 4, 4, 45_000, CHUNK=1024, **sizes)
        made(arch, window._mean, 4, 4, 45_000, CHUNK=1024, MERGED=window._MERGED, **sizes)
    made(arch, fused._rms_norm, 8, 0, 8_000, WIDTH=4096, PADDED=4096)
    made(arch, fused._gated_silu, 4, 0, 0, BLOCK=fused._BLOCK)
    made(arch, fused._rotate, 1, 0, 0, QUERY_HEADS=32, KEY_HEADS=8, HALF=64, PADDED=64)
"""


@pytest.mark.long
def test_every_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path):
    installed_triton()
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = {}
    for arch in ("90", "80"):  # at once
        environment["TRITON_CACHE_DIR"] = str(tmp_path / arch)
        command = [sys.executable, "-c", COMPILE, arch]
        runs[arch] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    errors = {arch: run.communicate()[1] for arch, run in runs.items()}
    for arch, run in runs.items():
        assert run.returncode == 0, errors[arch]
