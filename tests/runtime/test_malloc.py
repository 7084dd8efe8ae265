"""Freed memory stays in the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CODE = """
import re, torch
from sparsemm.runtime.malloc import disable_malloc_trim
resident = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) << 10
torch.ones(1)
kept, before = disable_malloc_trim(), resident()
torch.ones(64 << 20, dtype=torch.uint8)
print(int(kept), resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_freed_tensor_stays_resident() -> None:
    # A child process: the setting cannot be taken back.
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    kept, grown = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this libc has no mallopt")
    assert grown > 60 << 20
