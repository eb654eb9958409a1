# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect that a file was changed after it was read. Only parts of the file are compared."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Optional

from cryoice_scipion.core.images.reading import split_frame
from cryoice_scipion.core.records import FileIdentity

_BLOCK = 1 << 16  # bytes


def identify(path: str) -> Optional[FileIdentity]:
    """Return size, modification time and a digest of a file; its beginning, middle and end are read.

    None: it cannot be read, or the path is a frame of a stack, which may grow.
    """
    frame, file = split_frame(path)
    if frame is not None:
        return None
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = hashlib.blake2b(digest_size=8)
        with open(file, "rb", buffering=0) as stream:
            for start in sorted({0, max(0, status.st_size - _BLOCK) // 2, max(0, status.st_size - _BLOCK)}):
                stream.seek(start)
                digest.update(stream.read(_BLOCK))
    except OSError:
        return None
    return FileIdentity(status.st_size, status.st_mtime_ns, digest.hexdigest())


def content_of(path: str) -> str:
    """Return a text that two files share if their content is the same; empty: not known, as in :func:`identify`."""
    found = identify(path)
    return f"{found.size} {found.digest}" if found else ""


def identity_now(path: str, known: FileIdentity) -> Optional[FileIdentity]:
    """Return the identity of a file that was identified before; it is only read if size or time have changed."""
    try:
        status = os.stat(split_frame(path)[1])
    except OSError:
        return None
    return known if (status.st_size, status.st_mtime_ns) == (known.size, known.modified) else identify(path)
