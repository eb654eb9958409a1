# SPDX-License-Identifier: GPL-3.0-or-later
"""Reuse the memory of freed arrays.

By default the C library returns the memory of each large array to the kernel, which then clears the memory of the next
array. Reusing the memory saves about a tenth of the time of training and screening, but needs about a fifth more memory
(benchmarks/bench_memory.py). Other programs preload another allocator instead, which pip cannot install.
"""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt(3), <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30  # bytes: the memory of arrays up to this size is reused
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_memory() -> bool:
    """Ask glibc to keep freed memory in this process; return whether it does.

    This does nothing on systems other than Linux with glibc, or if the environment configures the allocator.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) == 1 for option, value in ((_M_MMAP_THRESHOLD, _KEPT), (_M_TRIM_THRESHOLD, 2**31 - 1))
    )
