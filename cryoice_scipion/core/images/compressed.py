# SPDX-License-Identifier: GPL-3.0-or-later
"""Decompress images in memory: ``.gz`` and ``.bz2``."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, Callable, Dict

from cryoice_scipion.core.errors import ImageError

COMPRESSIONS = (".gz", ".bz2")
_STARTS: Dict[bytes, Callable[[Path], BinaryIO]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}  # type: ignore[dict-item]
_MOST_BYTES = 1_300_000_000  # of the content: the largest micrograph in 32 bits; see ``reading``
_PART = 1 << 22  # bytes that are decompressed at once


def is_compressed(head: bytes) -> bool:
    """Return whether a file is compressed, by its first bytes."""
    return any(head.startswith(start) for start in _STARTS)


def decompressed(file: Path) -> bytes:
    """Return the content of a compressed file.

    Raises
    ------
    ImageError
        When it is damaged or truncated, or has more than 1.3 GB when it is decompressed.
    """
    with file.open("rb") as start:
        head = start.read(max(map(len, _STARTS)))
    unpack = next(unpack for start, unpack in _STARTS.items() if head.startswith(start))
    try:
        with unpack(file) as stream:
            content = bytearray()
            while len(content) <= _MOST_BYTES:
                part = stream.read(_PART)
                if not part:
                    return bytes(content)
                content += part
    except (EOFError, ValueError, OSError, zlib.error) as error:
        reason = f"is a damaged compressed file ({str(error) or type(error).__name__})"
        raise ImageError(file, " ".join(reason.split()), "copy or make the file again") from None
    except MemoryError:
        raise ImageError(file, "does not fit into the memory when it is decompressed", "decompress it first") from None
    raise ImageError(file, f"has more than {_MOST_BYTES:,} bytes when it is decompressed", "decompress it first")
