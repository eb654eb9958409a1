# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the memory that arrays free for the next ones.

The C library gives each large array back to the kernel when it is freed, and every page of the next one is faulted in
and cleared again: a tenth of the time of training and screening, for a fifth more memory (benchmarks/bench_memory.py).
What others do about it is to preload another allocator, which pip cannot install.
"""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt(3), <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30  # bytes: arrays up to this size are taken from memory that is kept
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_memory() -> bool:
    """Ask glibc to keep freed memory in this process; return whether it does.

    Not elsewhere than on Linux with glibc, and not where the environment says what the C library is to do.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1 for option, value in ((_M_MMAP_THRESHOLD, _KEPT), (_M_TRIM_THRESHOLD, 2**31 - 1))
    )
