# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the lines of a run's journal. The last line about a micrograph counts."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type, Union

from pydantic import TypeAdapter

from cryoice_scipion.core.records import FileIdentity, MapResult, MicrographRecord, Reference
from cryoice_scipion.core.results.journal import read_lines


@dataclasses.dataclass
class Head:
    """The first line: the settings of the run."""

    records_version: int
    config: Dict[str, Any]
    model: str  # fingerprint
    version: str = ""
    grader: str = ""  # fingerprint
    created: str = ""
    model_config: Optional[Dict[str, Any]] = None  # None: of a version that did not store it


@dataclasses.dataclass
class Mapped:
    """A micrograph is mapped."""

    id: int
    stem: str
    path: str
    result: MapResult


@dataclasses.dataclass
class Referenced:
    """The session reference is set."""

    reference: Reference


@dataclasses.dataclass
class Screened:
    """A micrograph is screened."""

    record: MicrographRecord
    picks: str  # digest of its coordinates


@dataclasses.dataclass
class Thinned:
    """Thumbnails are removed to save space."""

    ids: List[int]


@dataclasses.dataclass
class Touched:
    """The file of a mapped micrograph has another modification time, but the same content."""

    id: int
    input: FileIdentity


RunLine = Union[Head, Mapped, Referenced, Screened, Thinned, Touched]
_KIND = re.compile(rb'{\s*"kind":\s*"([a-z]+)"')
_KINDS: Dict[bytes, Type[Any]] = {
    b"head": Head,
    b"mapped": Mapped,
    b"reference": Referenced,
    b"screened": Screened,
    b"thinned": Thinned,
    b"touched": Touched,
}


def parse(line: bytes) -> RunLine:
    """Return a line of a run's journal; raise ValueError if a field is missing or of another type."""
    kind = _KIND.match(line)
    if kind is None or kind.group(1) not in _KINDS:
        raise ValueError("no journal line")
    found: RunLine = _adapter(kind.group(1)).validate_json(line, strict=True)
    return found


@functools.lru_cache(maxsize=None)
def _adapter(kind: bytes) -> TypeAdapter[Any]:
    return TypeAdapter(_KINDS[kind])


def read_run(path: Path, start: int = 0) -> Iterator[Tuple[int, RunLine]]:
    """Yield each complete line of a run's journal with the byte after it; see :func:`.journal.read_lines`."""
    for _, end, line in read_lines(path, parse, start):
        yield end, line
