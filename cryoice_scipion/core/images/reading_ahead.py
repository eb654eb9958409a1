# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the file of the next micrograph while another one is computed."""

from __future__ import annotations

import contextlib
import os

from cryoice_scipion.core.images.reading import split_frame

_AT_ONCE = 1 << 17  # bytes: Linux reads ahead at least as much at one call, and ignores what is beyond its limit


def read_ahead(path: str) -> None:
    """Ask the system to read a file into its cache meanwhile. Where that is not possible, nothing happens."""
    frame, file = split_frame(path)
    if frame is not None or not hasattr(os, "posix_fadvise"):  # of a stack, one frame is read
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            for start in range(0, os.fstat(descriptor).st_size, _AT_ONCE):
                os.posix_fadvise(descriptor, start, _AT_ONCE, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
