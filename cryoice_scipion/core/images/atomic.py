# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files atomically: a file is either complete or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Iterator, Union

from cryoice_scipion.core.errors import FREE_SPACE, FULL_DISK, CryoIceError

_WRITE_ERRORS = (*FULL_DISK, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def replacing(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; the file written there replaces ``path`` at the end.

    The folder is created if it does not exist. Readers see the old file until the end. The content is on disk before
    the file is replaced: after a power failure, ``path`` is the old file or the new one, never empty.

    Raises
    ------
    CryoIceError
        When the folder cannot be written or the disk is full. Nothing is left behind.
    """
    target = Path(path)
    # Hidden, with a name that nobody can guess: in a folder that others write to, a link may lie in wait under another.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        # Not by tempfile, whose files only their owner can read, whatever the umask is.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
        yield temporary
        to_disk(temporary)
        os.replace(temporary, target)
    except OSError as error:
        _remove(temporary)
        if error.errno in _WRITE_ERRORS or _names(error, temporary):
            raise _unwritable(target, error) from None
        raise
    except BaseException:
        _remove(temporary)
        raise


def open_no_link(path: Path, flags: int) -> int:
    """Open a file for writing, or create it, and return its descriptor.

    Raises
    ------
    OSError
        Also when the path is a link: in a folder that others write to, it may point to any file of the user.
    """
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def to_disk(path: Path) -> None:
    """Wait until the content of a file, or the list of files of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _names(error: OSError, path: Path) -> bool:
    return error.filename is not None and os.fspath(error.filename) == str(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _unwritable(target: Path, error: OSError) -> CryoIceError:
    remedy = FREE_SPACE if error.errno in FULL_DISK else "choose a folder that you may write to"
    return CryoIceError(target.parent, f"{target.name} cannot be written ({error.strerror or error})", remedy)
