# SPDX-License-Identifier: GPL-3.0-or-later
"""Decompress images in memory: ``.gz`` and ``.bz2``."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path

from cryoice_scipion.core.errors import ImageError

COMPRESSIONS = (".gz", ".bz2")
_STARTS = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress}


def is_compressed(head: bytes) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    return any(head.startswith(start) for start in _STARTS)


def decompressed(file: Path) -> bytes:
    """Return the content of a compressed file.

    Raises
    ------
    ImageError
        When it is damaged or truncated, or does not fit into the memory.
    """
    data = file.read_bytes()
    unpack = next(unpack for start, unpack in _STARTS.items() if data.startswith(start))
    try:
        return unpack(data)
    except (EOFError, ValueError, OSError, zlib.error) as error:
        reason = f"is a damaged compressed file ({str(error) or type(error).__name__})"
        raise ImageError(file, " ".join(reason.split()), "copy or make the file again") from None
    except MemoryError:
        raise ImageError(file, "does not fit into the memory when it is decompressed", "decompress it first") from None
