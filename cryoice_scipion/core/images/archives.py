# SPDX-License-Identifier: GPL-3.0-or-later
"""Read files of a run, which may be members of ZIP archives, and write such archives.

The file FOLDER/NAME of a run may be the member "FOLDER/NAME" of an archive in the run's folder ``archives``. A single
file takes precedence over its archived copy, and a newer archive over an older one. Members are not compressed.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from cryoice_scipion.core.errors import ImageError, one_line
from cryoice_scipion.core.images.atomic import replacing, to_disk

ARCHIVES = "archives"  # folder of the archives in the folder of a run
_NAMES = 5 * "[0-9]" + ".zip"
_LENGTHS = 26  # byte of a member's header at which the lengths of its name and of the extra field are
RESTORE = "restore from a copy, or screen the micrographs again into another folder"  # the remedy of damage
_READABLE = 0o644 << 16  # permissions of an unpacked file, as ZIP stores them


class Member(NamedTuple):
    """A file in an archive."""

    start: int  # byte of the archive at which the header of the file begins
    size: int  # bytes
    checksum: int  # CRC-32


def read_stored(path: Path) -> bytes:
    """Return the content of a file of a run: of the single file, or else of its archived copy.

    Raises
    ------
    OSError
        When the file cannot be read; FileNotFoundError when there is no such file.
    ImageError
        When the archive is damaged.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        copy = archived_copy(path)
        if copy is None:
            raise
    return copy


def archived_copy(path: Path) -> Optional[bytes]:
    """Return the content of the newest archived copy of a file of a run; None: it has none.

    Raises
    ------
    ImageError
        When the archive is damaged.
    """
    found = _find(path)
    return None if found is None else _content(*found)


def is_stored(path: Path) -> bool:
    """Return whether a run has a file, singly or archived.

    Raises
    ------
    ImageError
        When an archive is damaged that may hold the file.
    """
    return path.is_file() or _find(path) is not None


def write_archive(run: Path, names: Sequence[str]) -> None:
    """Write files of a run into a new archive, and read it again. The archive is on the disk at the end.

    Parameters
    ----------
    names : sequence of str
        Paths of the files, relative to the folder of the run.

    Raises
    ------
    CryoIceError
        When the archive cannot be written.
    """
    number = max((int(path.stem) for path in _archives_of(run)), default=0) + 1
    archive = run / ARCHIVES / f"{number:05d}.zip"
    with replacing(archive) as temporary:
        with zipfile.ZipFile(temporary, "w") as written:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr = _READABLE
                written.writestr(info, (run / name).read_bytes())
        with zipfile.ZipFile(temporary) as written:
            if written.testzip() is not None:
                raise OSError(errno.EIO, "it differs from what was written", str(temporary))
    to_disk(archive.parent)


def _archives_of(run: Path) -> List[Path]:
    """Return the archives of a run, oldest first."""
    return sorted((run / ARCHIVES).glob(_NAMES))


def _find(path: Path) -> Optional[Tuple[Path, Member]]:
    """Return the newest archive that has a file, and the file in it; None: no archive has it."""
    name, damage = f"{path.parent.name}/{path.name}", None
    for archive in reversed(_archives_of(path.parent.parent)):
        try:
            status = archive.stat()
            member = _members(archive, status.st_size, status.st_mtime_ns).get(name)
        except ImageError as error:
            damage = damage or error
            continue
        if member is not None:
            return archive, member
    if damage is not None:
        raise damage
    return None


@functools.lru_cache(maxsize=256)
def _members(archive: Path, size: int, modified: int) -> Dict[str, Member]:
    """Return the files in an archive of this size and modification time, by name."""
    found: Dict[str, Member] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if info.compress_type != zipfile.ZIP_STORED or info.header_offset + info.file_size > size:
                    raise ValueError(f"{info.filename} is compressed or too long")
                found[info.filename] = Member(info.header_offset, info.file_size, info.CRC)
        if min((member.start for member in found.values()), default=1):
            raise ValueError("it is incomplete")  # zipfile has read the list of files of a class map, itself an archive
    except Exception as error:  # zipfile raises many kinds for damaged files
        raise _damaged(archive, one_line(error) or type(error).__name__) from None
    return found


def _content(archive: Path, member: Member) -> bytes:
    """Return the content of a file in an archive. ``zipfile`` would read the whole list of files each time."""
    with archive.open("rb") as stream:
        stream.seek(member.start + _LENGTHS)
        lengths = stream.read(4)
        stream.seek(sum(struct.unpack("<HH", lengths.ljust(4, b"\0"))), os.SEEK_CUR)
        content = stream.read(member.size)
    if zlib.crc32(content) != member.checksum:
        raise _damaged(archive, "a checksum differs")
    return content


def _damaged(archive: Path, reason: str) -> ImageError:
    return ImageError(archive, f"the archive is damaged ({reason})", RESTORE)
