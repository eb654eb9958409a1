# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect that a file was changed after it was read. Only parts of the file are compared."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, List, Optional, Tuple

import tifffile

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images import mrc
from cryoice_scipion.core.images.compressed import is_compressed
from cryoice_scipion.core.images.reading import is_tiff, split_frame
from cryoice_scipion.core.records import FileIdentity

_BLOCK = 1 << 16  # bytes
_LONGEST_START = 8  # bytes that tell the format of a file
Parts = List[Tuple[int, int]]  # of a file: the first byte and the number of bytes of each


def identify(path: str) -> Optional[FileIdentity]:
    """Return size, modification time and a digest of a file; its beginning, middle and end are read.

    Size and digest of a frame are those of the frame only, because a stack may grow; a compressed stack counts as a
    whole. None: the file cannot be read, or there is no such frame.
    """
    frame, file = split_frame(path)
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = hashlib.blake2b(digest_size=8)
        parts = [(0, status.st_size)] if frame is None else _parts_of_frame(file, frame, status.st_size, digest)
        size = sum(count for _, count in parts)
        with open(file, "rb", buffering=0) as stream:
            for start in sorted({0, max(0, size - _BLOCK) // 2, max(0, size - _BLOCK)}):
                for offset, count in _within(parts, start, start + _BLOCK):
                    stream.seek(offset)
                    digest.update(stream.read(count))
    except Exception:  # tifffile raises many kinds
        return None
    return FileIdentity(size, status.st_mtime_ns, digest.hexdigest())


def _parts_of_frame(file: Path, frame: int, size: int, digest: hashlib.blake2b) -> Parts:
    """Return the parts of a stack that hold a frame (from 1); add to the digest what the frame is read with.

    Raises
    ------
    ImageError
        When there is no such frame.
    """
    with open(file, "rb") as stream:
        head = stream.read(_LONGEST_START)
    if is_compressed(head):
        digest.update(repr(frame).encode())
        return [(0, size)]
    if is_tiff(head):
        return _parts_of_page(file, frame, digest)
    header = mrc.read_header(file)
    _check(frame, header.sections, file)
    digest.update(repr((header.rows, header.columns, header.dtype.str, header.pixel_size)).encode())
    return [mrc.bytes_of_section(header, frame - 1)]


def _parts_of_page(file: Path, frame: int, digest: hashlib.blake2b) -> Parts:
    with tifffile.TiffFile(file) as tiff:
        _check(frame, len(tiff.pages), file)
        page: Any = tiff.pages[frame - 1]
        kind = (tiff.byteorder, page.shape, str(page.dtype), int(page.compression))
        digest.update(repr((*kind, page.resolution, int(page.resolutionunit), page.databytecounts)).encode())
        return list(zip(page.dataoffsets, page.databytecounts))


def _check(frame: int, number: int, file: Path) -> None:
    if not 1 <= frame <= number:
        raise ImageError(file, f"has no frame {frame}", "frames count from 1")


def _within(parts: Parts, start: int, end: int) -> Parts:
    """Return what lies between two bytes of the joined parts, as parts of the file."""
    found, before = [], 0
    for offset, count in parts:
        first, last = max(start, before), min(end, before + count)
        if first < last:
            found.append((offset + first - before, last - first))
        before += count
    return found


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
