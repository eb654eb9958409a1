# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect that a file was changed after it was read. Only parts of the file are compared."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Optional, Tuple

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images import mrc
from cryoice_scipion.core.images.reading import split_frame
from cryoice_scipion.core.records import FileIdentity

_BLOCK = 1 << 16  # bytes


def identify(path: str) -> Optional[FileIdentity]:
    """Return size, modification time and a digest of a file; its beginning, middle and end are read.

    Size and digest of a frame are those of the frame only, because a stack may grow. None: the file cannot be read, or
    the path is a frame of a stack that is not an MRC file.
    """
    frame, file = split_frame(path)
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = hashlib.blake2b(digest_size=8)
        first, size = (0, status.st_size) if frame is None else _bytes_of_frame(file, frame, digest)
        with open(file, "rb", buffering=0) as stream:
            for start in sorted({0, max(0, size - _BLOCK) // 2, max(0, size - _BLOCK)}):
                stream.seek(first + start)
                digest.update(stream.read(min(_BLOCK, size - start)))
    except (OSError, ImageError):
        return None
    return FileIdentity(size, status.st_mtime_ns, digest.hexdigest())


def _bytes_of_frame(file: Path, frame: int, digest: hashlib.blake2b) -> Tuple[int, int]:
    """Return where a frame (from 1) of an MRC stack begins and its size, in bytes; add what it is read with.

    Raises
    ------
    ImageError
        When there is no such frame.
    """
    header = mrc.read_header(file)
    if not 1 <= frame <= header.sections:
        raise ImageError(file, f"has no frame {frame}", "frames count from 1")
    digest.update(repr((header.rows, header.columns, header.dtype.str, header.pixel_size)).encode())
    return mrc.bytes_of_section(header, frame - 1)


def content_of(path: str) -> str:
    """Return a text that two files share if their content is the same; empty: not known, as in :func:`identify`."""
    found = identify(path)
    return f"{found.size} {found.digest}" if found else ""


def identity_now(path: str, known: FileIdentity) -> Optional[FileIdentity]:
    """Return the identity of a file that was identified before; it is only read if size or time have changed."""
    frame, file = split_frame(path)
    try:
        status = os.stat(file)
    except OSError:
        return None
    size = status.st_size if frame is None else known.size  # that of a frame is not the size of its file
    return known if (size, status.st_mtime_ns) == (known.size, known.modified) else identify(path)
