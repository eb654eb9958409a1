# SPDX-License-Identifier: GPL-3.0-or-later
"""Store what a run has made from its journal, so that a long run continues without reading the whole journal again.

The journal stays the truth. A checkpoint names the part of the journal that it was made from; the lines after that part
are read as usual. A checkpoint that is damaged, or does not fit the journal, is ignored, and the whole journal is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.results.run_folder import JOURNAL, writing

NAME = ".checkpoint"
SMALLEST = 500_000  # bytes of a journal; a shorter one is read faster than it is worth
_FORMAT = 4  # raise it when a stored attribute changes
_COMPARED = 4096  # bytes at the beginning and at the end of the journal's part
_HEAD = "checkpoint"  # name of the member that says what a checkpoint was made from
ARRAYS = Dict[int, NDArray[Any]]  # the only type of an attribute that is not stored as JSON
#: Types of the stored attributes of an object, by name.
Types = Mapping[str, Any]
#: Attributes of objects, by a name for each object.
Stored = Dict[str, Dict[str, Any]]


def attributes(source: object, types: Types) -> Dict[str, Any]:
    """Return attributes of an object, to be stored."""
    return {name: getattr(source, name) for name in types}


def set_attributes(target: object, types: Types, stored: Mapping[str, Any]) -> None:
    """Set these attributes of an object, as :func:`attributes` returned them."""
    for name in types:
        setattr(target, name, stored[name])


def save(folder: Path, end: int, settings: str, stored: Stored, types: Mapping[str, Types]) -> None:
    """Write the checkpoint of a run, if its journal is long.

    Parameters
    ----------
    end : int
        The length of the part of the journal that everything was made from, in bytes.
    settings : str
        The settings that what is stored depends on.

    Raises
    ------
    FolderError
        When the folder cannot be written.
    """
    if end < SMALLEST:
        return
    head = _adapter(_Head).dump_json((end, _mark(folder / JOURNAL, end), _described(settings)))
    members: Dict[str, Any] = {_HEAD: np.frombuffer(head, dtype=np.uint8)}
    for owner, own in types.items():
        for name, kind in own.items():
            value = stored[owner][name]
            if kind is ARRAYS:
                members.update((f"{owner}.{name}.{key}", array) for key, array in value.items())
            else:
                members[f"{owner}.{name}"] = np.frombuffer(_adapter(kind).dump_json(value), dtype=np.uint8)
    with writing(folder), replacing(folder / NAME) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **members)


def load(folder: Path, settings: str) -> Optional[Checkpoint]:
    """Return the checkpoint of a run; None if there is none that fits its journal and settings."""
    found = Checkpoint(folder / NAME)
    try:
        with np.load(found.path, allow_pickle=False) as members:  # a zip archive, which has checksums
            found.end, mark, described = _adapter(_Head).validate_json(members[_HEAD].tobytes())
        fits = described == _described(settings) and mark == _mark(folder / JOURNAL, found.end)
        return found if fits else None
    except Exception:  # numpy and zipfile raise anything for a damaged file; the journal has all that is in it
        return None


class Checkpoint:
    """A checkpoint that fits; its parts are read when they are needed."""

    def __init__(self, path: Path) -> None:
        """Take the file."""
        self.path, self.end = path, 0  # bytes of the part of the journal that it was made from

    def read(self, types: Mapping[str, Types]) -> Optional[Stored]:
        """Return the attributes of these objects; None if the file has other objects, or is damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as members:
                return {
                    owner: {name: _restored(members, f"{owner}.{name}", kind) for name, kind in own.items()}
                    for owner, own in types.items()
                }
        except Exception:
            return None


def delete(folder: Path) -> None:
    """Delete the checkpoint of a run, if there is one."""
    with contextlib.suppress(OSError):
        (folder / NAME).unlink()


_Head = Tuple[int, str, str]


@functools.lru_cache(maxsize=None)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(ser_json_inf_nan="constants"))


def _restored(members: Any, name: str, kind: Any) -> Any:
    if kind is not ARRAYS:
        return _adapter(kind).validate_json(members[name].tobytes())
    names = [one for one in members.files if one.startswith(f"{name}.")]
    return {int(one[len(name) + 1 :]): members[one] for one in names}


def _described(settings: str) -> str:
    return f"{VERSION} {_FORMAT} {settings}"


def _mark(journal: Path, end: int) -> str:
    """Return a digest of the beginning and the end of a part of the journal; empty if the journal is shorter."""
    with open(journal, "rb") as stream:
        first = stream.read(min(_COMPARED, end))
        stream.seek(max(0, end - _COMPARED))
        last = stream.read(min(_COMPARED, end))
    whole = len(first) == len(last) == min(_COMPARED, end)
    return hashlib.blake2b(first + last, digest_size=16).hexdigest() if whole else ""
