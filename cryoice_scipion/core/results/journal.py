# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the journal of a run: JSON lines, each of which is on the disk before the next step begins.

Tables, summaries and coordinate files are made from the journal only.
Lines are of the kinds "head" (first), "mapped", "reference" and "screened". The last line about a micrograph counts.
A "thinned" line names micrographs whose thumbnails were removed to save space.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Tuple

from pydantic import TypeAdapter

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.results.run_folder import writing

Line = Dict[str, Any]
_BLOCK = 1 << 16  # bytes
_LINE = TypeAdapter(Line)  # takes two thirds of the time of the json module


class Journal:
    """Append to a journal and read it. Only one process may have it open; see ``RunFolder.lock``."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; an incomplete last line, left by a crash, is removed."""
        self.path = Path(path)
        with writing(self.path.parent):
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            self.mend()

    def mend(self) -> None:
        """Remove an incomplete last line; needed after opening, and after an interrupt during writing."""
        self._end = _sound_length(self.path)
        os.ftruncate(self._descriptor, self._end)

    def append(self, kind: str, waiting: bool = True, **values: Any) -> int:
        """Write one line, wait until it is on the disk, and return its byte offset.

        Parameters
        ----------
        waiting : bool
            Whether to wait for the disk. If not, the next line that is waited for also waits for this one.

        Raises
        ------
        FolderError
            When it cannot be written; the journal is then unchanged.
        """
        line = json.dumps({"kind": kind, **values}, separators=(",", ":")).encode() + b"\n"
        with writing(self.path.parent):
            try:
                _write_all(self._descriptor, line)
                if waiting:
                    os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
        offset, self._end = self._end, self._end + len(line)
        return offset

    @property
    def end(self) -> int:
        """Return the length of the journal, in bytes."""
        return self._end

    def lines(self, start: int = 0) -> Iterator[Tuple[int, Line]]:
        """Yield the byte offset and the content of each line written so far, from the one at byte ``start`` on.

        Raises
        ------
        CryoIceError
            At a damaged line. Crashes do not damage lines: an incomplete one is removed at opening.
        """
        written = self._end
        for offset, _, line in read_lines(self.path, start):
            if offset >= written:
                return
            yield offset, line

    def read(self, offsets: Iterable[int]) -> Iterator[Line]:
        """Yield the lines that begin at these byte offsets."""
        with open(self.path, "rb") as stream:
            for offset in offsets:
                stream.seek(offset)
                yield _parsed(stream.readline())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_lines(path: Path, start: int = 0) -> Iterator[Tuple[int, int, Line]]:
    """Yield each complete line: the byte offsets of its start and end, and its content; also while the run goes on.

    Parameters
    ----------
    start : int
        The byte at which to begin. An incomplete last line is left for the next call.

    Raises
    ------
    CryoIceError
        When a line is damaged.
    """
    offset = start
    with open(path, "rb") as stream:
        stream.seek(start)
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                content = _parsed(line)
            except ValueError:
                raise damaged_line(path, f"line {number}" + (f" after byte {start}" if start else "")) from None
            yield offset, offset + len(line), content
            offset += len(line)


def damaged_line(path: Path, where: str) -> CryoIceError:
    """Return the error of a damaged line of a journal."""
    return CryoIceError(path, f"{where} is damaged", "restore the file, or start a new run in another folder")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _parsed(line: bytes) -> Line:
    """Return a line's content; raise ValueError if it is no journal line."""
    value = _LINE.validate_json(line)
    if "kind" not in value:
        raise ValueError("no journal line")
    return value


def _sound_length(path: Path) -> int:
    """Return the length of the file in bytes, without an incomplete last line; reads only the end of the file."""
    final, end = b"", path.stat().st_size
    start = end
    with open(path, "rb") as stream:
        while start and final.rstrip(b"\n").count(b"\n") == 0:
            start = max(0, start - _BLOCK)
            stream.seek(start)
            final = stream.read(end - start)
    final = final[final.rfind(b"\n", 0, len(final) - 1) + 1 :]
    last = end - len(final)
    try:
        if final and not final.endswith(b"\n"):
            raise ValueError("torn")
        if final:
            _parsed(final)
    except ValueError:
        return last
    return end
