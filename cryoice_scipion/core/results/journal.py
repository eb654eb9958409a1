# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a run: append-only JSON lines, each on the disk before the next step is taken.

It is the only truth about what is done: tables, summaries and coordinate files are made from it.
Lines are of the kinds "head" (first), "mapped", "reference" and "screened". The last line about a micrograph counts.
"thinned" ones name micrographs whose thumbnails went, because there were too many.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Tuple

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.run_folder import writing

Line = Dict[str, Any]


class Journal:
    """An open journal. Only one process may have it open; see ``RunFolder.lock``."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a last line that a crash tore is cut off."""
        self.path = Path(path)
        with writing(self.path.parent):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            self.mend()

    def mend(self) -> None:
        """Cut off a last line that is torn; after opening, and after an interrupt that may have come while writing."""
        self._end = _sound_length(self.path)
        os.ftruncate(self._descriptor, self._end)

    def append(self, kind: str, **values: Any) -> int:
        """Write one line, wait until it is on the disk, and return where it begins.

        Raises
        ------
        FolderError
            When it cannot be written; the journal is then as it was before.
        """
        line = json.dumps({"kind": kind, **values}, separators=(",", ":")).encode() + b"\n"
        with writing(self.path.parent):
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
        offset, self._end = self._end, self._end + len(line)
        return offset

    def lines(self) -> Iterator[Tuple[int, Line]]:
        """Yield where each line written so far begins, and what it says.

        Raises
        ------
        CryoIceError
            At a line that is damaged (not by a crash: those are cut on opening).
        """
        offset, end = 0, self._end
        with open(self.path, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                if offset >= end:
                    return
                try:
                    yield offset, _parsed(line)
                except ValueError:
                    raise CryoIceError(
                        self.path, f"line {number} is damaged", "restore the file, or start anew in another folder"
                    ) from None
                offset += len(line)

    def read(self, offsets: Iterable[int]) -> Iterator[Line]:
        """Yield the lines that begin at these byte offsets."""
        with open(self.path, "rb") as stream:
            for offset in offsets:
                stream.seek(offset)
                yield _parsed(stream.readline())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _parsed(line: bytes) -> Line:
    """Return the line's content; ValueError when it is not one."""
    value = json.loads(line.decode("utf-8"))
    if not isinstance(value, dict) or "kind" not in value:
        raise ValueError("no journal line")
    return value


def _sound_length(path: Path) -> int:
    """Return the length of the file without a torn last line, in bytes."""
    end = last = 0
    final = b""
    with open(path, "rb") as stream:
        for line in stream:
            last, end, final = end, end + len(line), line
    try:
        if final and not final.endswith(b"\n"):
            raise ValueError("torn")
        if final:
            _parsed(final)
    except ValueError:
        return last
    return end
