"""Settings of glibc's malloc.

By default glibc returns the memory of every large tensor to the kernel when it is freed, and the kernel zeroes the
pages again for the next tensor.
"""

from __future__ import annotations

import ctypes
import sys

# Parameter numbers of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def disable_malloc_trim(pad: int = 256 << 20) -> bool:
    """Allocate large blocks on a heap that grows by `pad` bytes at a time and never shrinks.

    On a virtual machine, page faults took half the time of a training step. Do not use it where memory is measured:
    freed memory would count as used.

    Returns:
        Whether libc has these settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return False
    done = (mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1), mallopt(_M_TOP_PAD, pad))
    return all(done)
