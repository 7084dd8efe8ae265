"""Keep freed memory: glibc returns every large tensor to the kernel, which then clears its pages again."""

from __future__ import annotations

import ctypes
import sys

# Parameter numbers of mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def disable_malloc_trim(pad: int = 256 << 20) -> bool:
    """Serve large blocks from a heap that grows by `pad` bytes and never shrinks; False where libc has no such knob.

    On a virtual machine page faults were half the time of a training step. Not for processes whose memory is
    measured: what they freed would count.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return False
    done = (mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1), mallopt(_M_TOP_PAD, pad))
    return all(done)
