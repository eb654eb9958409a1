# SPDX-License-Identifier: GPL-3.0-or-later
"""Read pixels that lie uncompressed in a file.

The file is read, not mapped into memory: if another program truncates a mapped file, or its disk fails, the system ends
the process that reads the mapping (SIGBUS).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Tuple

import numpy as np
import numpy.typing as npt

from cryoice_scipion.core.errors import ImageError


def read_raw(path: Path, offset: int, shape: Tuple[int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the pixels (rows, columns) that start at a byte of a file, as a new array.

    Raises
    ------
    ImageError
        When the file is shorter, or cannot be read.
    """
    pixels = np.empty(shape, dtype)
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            found = stream.readinto(pixels.view("u1").data)
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})", "copy or make the file again") from None
    if found < pixels.nbytes:
        raise ImageError(path, "became shorter while it was read", "wait until it is complete, or make it again")
    return pixels
