# SPDX-License-Identifier: GPL-3.0-or-later
"""Store what a run has made from its journal, so that a long run continues without reading the whole journal again.

The journal stays the truth. A checkpoint names the part of the journal that it was made from; the lines after that part
are read as usual. A checkpoint that is damaged, or does not fit the journal, is ignored, and the whole journal is read.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

from cryoice_scipion.constants import VERSION
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.results.run_folder import JOURNAL, writing

NAME = ".checkpoint"
SMALLEST = 4_000_000  # bytes of a journal; a shorter one is read faster than it is worth
_FORMAT = 2  # raise it when a stored attribute changes
_COMPARED = 4096  # bytes at the beginning and at the end of the journal's part
#: All that a checkpoint may hold beside plain Python values. Anything else, which might run code, is refused.
_ALLOWED = {
    ("collections", "Counter"),
    ("cryoice_scipion.core.images.grid", "Frame"),
    ("cryoice_scipion.core.results.run_sums", "GoodnessHistogram"),
    ("cryoice_scipion.core.results.run_sums", "MicrographValues"),
    ("cryoice_scipion.core.results.region_sums", "RegionSums"),
    ("cryoice_scipion.core.screening.relion_stars", "ListedMicrograph"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
#: Attributes of objects, by a name for each object.
Stored = Dict[str, Dict[str, Any]]


def attributes(source: object, names: Iterable[str]) -> Dict[str, Any]:
    """Return attributes of an object, to be stored."""
    return {name: getattr(source, name) for name in names}


def set_attributes(target: object, names: Iterable[str], stored: Mapping[str, Any]) -> None:
    """Set these attributes of an object, and no others that a file may name, as :func:`attributes` returned them."""
    for name in names:
        setattr(target, name, stored[name])


def save(folder: Path, end: int, settings: str, stored: Stored) -> None:
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
    with writing(folder), replacing(folder / NAME) as temporary, open(temporary, "wb") as stream:
        head = {"end": end, "mark": _mark(folder / JOURNAL, end), "settings": _described(settings)}
        for part in (head, stored):
            pickle.dump(part, stream, protocol=4)


def load(folder: Path, settings: str) -> Optional[Tuple[int, Stored]]:
    """Return the checkpoint of a run, and the length of the journal's part; None if there is none that fits."""
    try:
        with open(folder / NAME, "rb") as stream:
            head = _Reader(stream).load()
            if head["settings"] != _described(settings) or head["mark"] != _mark(folder / JOURNAL, head["end"]):
                return None
            return head["end"], _Reader(stream).load()
    except FileNotFoundError:
        return None
    except Exception:  # pickle raises anything for a damaged file; the journal has all that is in it
        return None


class _Reader(pickle.Unpickler):
    """Read plain values and the allowed classes only."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


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
