# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the journal of a run: JSON lines, each of which is on the disk before the next step begins.

Tables, summaries and coordinate files are made from the journal only. Each line ends with the id of the run, the
number of the line, and a checksum of the text before it. These show which line is damaged, missing, doubled, moved, or
of another run. Earlier versions wrote none of them: of their lines, only the names and types of the fields are checked.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import IO, Any, Callable, Dict, Generic, Iterable, Iterator, NamedTuple, Optional, Tuple, TypeVar

from cryoice_scipion.core.errors import CryoIceError, counted
from cryoice_scipion.core.images.atomic import open_no_link, replacing
from cryoice_scipion.core.results.run_folder import writing

Line = TypeVar("Line")
Answer = TypeVar("Answer")
#: Returns the content of a line from its JSON text; raises ValueError if a field is missing or of another type.
Parse = Callable[[bytes], Line]
ANEW = "restore the file from a copy, or start a new run in another folder"
_REMEDY = "continue the run (--resume; in Scipion: Continue); what the line held is then screened again"
_APPEND = os.O_WRONLY | os.O_APPEND
_BLOCK = 1 << 16  # bytes
_SEAL = re.compile(rb',"run":"([0-9a-f]*)","line":([0-9]+),"crc":"([0-9a-f]{8})"}\n\Z')
_LONGEST_SEAL = 100  # bytes


class DamagedLineError(CryoIceError):
    """A line of a journal is damaged, missing, doubled, moved, or of another run."""

    def __init__(self, path: Path, line: str) -> None:
        """Take the file, and the number of the line in words."""
        super().__init__(path, f"{line} is damaged", _REMEDY)


class Journal(Generic[Line]):
    """Append to a journal and read it. Only one process may have it open; see ``RunFolder.lock``."""

    def __init__(self, path: Path, parse: Parse[Line], run: str = "") -> None:
        """Open or create the file; an incomplete last line, left by a crash, is removed.

        Parameters
        ----------
        run : str
            Id of a new run, hexadecimal. An existing journal keeps its own.
        """
        self.path, self._parse, self._new_run = Path(path), parse, run
        self._open()

    def _open(self) -> None:
        with writing(self.path.parent):
            self._descriptor = open_no_link(self.path, _APPEND)
            self.mend()

    def mend(self) -> None:
        """Remove an incomplete last line; needed after opening, and after an interrupt during writing."""
        self._end, seal = _sound_end(self.path, self._parse)
        os.ftruncate(self._descriptor, self._end)
        run = b"" if self._end else self._new_run.encode()  # a journal of an earlier version has no id
        self._run, self._number = (run, 0) if seal is None else (seal.run, seal.number)

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
        text = json.dumps({"kind": kind, **values}, separators=(",", ":"), ensure_ascii=False)
        line = _sealed(text.encode("utf-8", "replace"), self._run, self._number + 1)
        with writing(self.path.parent):
            try:
                _write_all(self._descriptor, line)
                if waiting:
                    os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
        offset, self._end, self._number = self._end, self._end + len(line), self._number + 1
        return offset

    @property
    def end(self) -> int:
        """Return the length of the journal, in bytes."""
        return self._end

    def lines(self, start: int = 0) -> Iterator[Tuple[int, Line]]:
        """Yield the byte offset and the content of each line written so far, from the one at byte ``start`` on.

        Raises
        ------
        DamagedLineError
            At a damaged line. Crashes do not damage lines: an incomplete one is removed at opening.
        """
        written = self._end
        for offset, _, line in read_lines(self.path, self._parse, start):
            if offset >= written:
                return
            yield offset, line

    def read(self, offsets: Iterable[int]) -> Iterator[Line]:
        """Yield the lines that begin at these byte offsets.

        Raises
        ------
        DamagedLineError
            At a damaged line.
        """
        with open(self.path, "rb") as stream:
            for offset in offsets:
                stream.seek(offset)
                line = stream.readline()
                try:
                    _seal_of(line)
                    yield self._parse(line)
                except ValueError:
                    raise DamagedLineError(self.path, f"the line at byte {offset}") from None

    def repaired(self, read: Callable[[], Answer]) -> Tuple[Answer, str]:
        """Return what ``read`` returns. If it meets a damaged line, repair the journal, and call it once more.

        Damaged lines are moved to a file beside the journal. The text says what was wrong; empty: nothing.

        Raises
        ------
        CryoIceError
            When the first line is damaged or missing, or most lines are damaged; nothing is changed then.
        """
        try:
            return read(), ""
        except DamagedLineError:
            faults = self._repair()
            return read(), f"{self.path}: {faults}; what is lost by this is screened again"

    def _repair(self) -> str:
        sound: Dict[Tuple[bool, int], bytes] = {}  # by whether it has a seal, and its number
        damaged, faults, check = [], [], _Sequence()
        with open(self.path, "rb") as stream:
            for index, line in enumerate(stream, start=1):
                try:
                    number = check.number_of(line)
                    self._parse(line)
                    sound[number is not None, number or index] = line
                except ValueError:
                    damaged.append(line)
                    faults.append(f"line {index} is damaged")
        last = max((number for is_sealed, number in sound if is_sealed), default=0)
        missing = set(range(1, last + 1)).difference(number for is_sealed, number in sound if is_sealed)
        if len(missing) > len(damaged):
            faults.append(f"{counted(len(missing) - len(damaged), 'line is', 'lines are')} missing")
        text = "; ".join(faults[:3] or ["lines are doubled or moved"])
        if 1 in missing or len(damaged) > len(sound) or min(sound, default=(False, 0))[1] != 1:
            raise CryoIceError(self.path, text, ANEW)
        self._rewrite([line for _, line in sorted(sound.items())], damaged)
        return text

    def _rewrite(self, lines: Iterable[bytes], damaged: Iterable[bytes]) -> None:
        with writing(self.path.parent):
            with open(open_no_link(self.path.with_suffix(".damaged"), _APPEND), "ab") as stream:
                stream.writelines(damaged)
            with replacing(self.path) as temporary, open(temporary, "wb") as stream:
                for number, line in enumerate(lines, start=1):
                    seal = _seal_of(line)
                    text = line.rstrip() if seal is None else line[: seal.start] + b"}"
                    stream.write(_sealed(text, self._run, number))
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_lines(path: Path, parse: Parse[Line], start: int = 0) -> Iterator[Tuple[int, int, Line]]:
    """Yield each complete line: the byte offsets of its start and end, and its content; also while the run goes on.

    Parameters
    ----------
    start : int
        The byte at which to begin. An incomplete last line is left for the next call.

    Raises
    ------
    DamagedLineError
        When a line is damaged, or does not follow the one before.
    """
    offset, check = start, _Sequence()
    with open(path, "rb") as stream:
        stream.seek(start)
        for index, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                check.follow(line, is_first=index == 1 and start > 0)
                content = parse(line)
            except ValueError:
                raise DamagedLineError(path, f"line {index}" + (f" after byte {start}" if start else "")) from None
            yield offset, offset + len(line), content
            offset += len(line)


class _Seal(NamedTuple):
    """The end of a line."""

    start: int  # its first byte
    run: bytes
    number: int


class _Sequence:
    """Check lines one after the other."""

    def __init__(self) -> None:
        self._run: Optional[bytes] = None
        self._last = 0  # number of the line before; 0: that is of an earlier version

    def number_of(self, line: bytes) -> Optional[int]:
        """Return a line's number, None if it is of an earlier version; raise ValueError if it cannot be of this run."""
        seal = _seal_of(line)
        if seal is None:
            if self._run is not None:
                raise ValueError("no seal after lines that have one")
            return None
        self._run = seal.run if self._run is None else self._run
        if seal.run != self._run:
            raise ValueError("of another run")
        return seal.number

    def follow(self, line: bytes, is_first: bool) -> None:
        """Raise ValueError unless the line is the next one; the first line that is read may have any number."""
        number = self.number_of(line)
        if number is not None and not is_first and number != self._last + 1:
            raise ValueError("not the next line")
        self._last = number or 0


def _sealed(text: bytes, run: bytes, number: int) -> bytes:
    """Return the line of a JSON object."""
    body = b'%b,"run":"%b","line":%d' % (text[:-1], run, number)
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _seal_of(line: bytes) -> Optional[_Seal]:
    """Return the seal of a line, None if it is of an earlier version; raise ValueError if its checksum is wrong."""
    shift = max(0, len(line) - _LONGEST_SEAL)
    found = _SEAL.search(line, shift)
    if found is None:
        return None
    if zlib.crc32(memoryview(line)[: found.start(3) - len(b',"crc":"')]) != int(found.group(3), 16):
        raise ValueError("wrong checksum")
    return _Seal(found.start(), found.group(1), int(found.group(2)))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sound_end(path: Path, parse: Parse[Any]) -> Tuple[int, Optional[_Seal]]:
    """Return the length of the file in bytes without an incomplete last line, and the seal of the line before it."""
    with open(path, "rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        line = _line_before(stream, end)
        try:
            if not line.endswith(b"\n"):
                raise ValueError("torn")
            seal = _seal_of(line)
            parse(line)
            return end, seal
        except ValueError:
            end -= len(line)
        try:
            return end, _seal_of(_line_before(stream, end))
        except ValueError:
            return end, None


def _line_before(stream: IO[bytes], end: int) -> bytes:
    """Return the line that ends at a byte; reads only the end of the file."""
    final, start = b"", end
    while start and b"\n" not in final[:-1]:
        start = max(0, start - _BLOCK)
        stream.seek(start)
        final = stream.read(end - start)
    return final[final.rfind(b"\n", 0, max(0, len(final) - 1)) + 1 :]
