# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults at the edge of the machine: the k-th call that writes into a folder fails, as on a full or broken disk."""

import builtins
import contextlib
import errno
import io
import os
import pathlib
import sys
import threading

#: Errors of disks: full, broken, over quota, read-only.
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
#: In Python 3.10, ``Path.open`` calls the function that was ``io.open`` when this class was made.
_PATHS = pathlib._NormalAccessor if sys.version_info[:2] == (3, 10) else None
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class FailingDisk:
    """Count the calls that write into a folder. From the call number ``first`` on, ``length`` of them fail."""

    def __init__(self, folder, first=0, number=errno.ENOSPC, length=None):
        self.folder, self.first, self.number = os.fspath(folder), first, number
        self.last = float("inf") if length is None else first + length
        self.calls, self._lock = 0, threading.Lock()

    def __enter__(self):
        self._real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace")}
        self._open, real = builtins.open, self._real

        def opened(path, flags, *rest, **more):
            if flags & _WRITING:
                self._count(path)
            return real["open"](path, flags, *rest, **more)

        def opened_stream(path, mode="r", *rest, **more):
            if set(mode) & set("wax+"):
                self._count(path)
            return self._open(path, mode, *rest, **more)

        os.open, builtins.open, io.open = opened, opened_stream, opened_stream
        if _PATHS:
            _PATHS.open = staticmethod(opened_stream)
        os.write, os.fsync = self._of_descriptor("write"), self._of_descriptor("fsync")
        os.replace = self._of_path("replace")
        return self

    def __exit__(self, *_):
        builtins.open = io.open = self._open
        if _PATHS:
            _PATHS.open = self._open
        for name, function in self._real.items():
            setattr(os, name, function)

    def _of_descriptor(self, name):
        def call(descriptor, *rest):
            with contextlib.suppress(FileNotFoundError):
                self._count(os.readlink(f"/proc/self/fd/{descriptor}"))
            return self._real[name](descriptor, *rest)

        return call

    def _of_path(self, name):
        def call(path, *rest, **more):
            self._count(path)
            return self._real[name](path, *rest, **more)

        return call

    def _count(self, path):
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(self.folder):
            return
        with self._lock:
            self.calls += 1
            if self.first and self.first <= self.calls < self.last:
                raise OSError(self.number, os.strerror(self.number), os.fspath(path))
