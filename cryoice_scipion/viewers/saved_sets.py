# SPDX-License-Identifier: GPL-3.0-or-later
"""Save sets as additional outputs of a screening: other thresholds, a user's decisions, and marked places.

A running protocol writes its own database and its four outputs; this module only reads them. A new set is a separate
file. It is registered in the project database, as pyworkflow does for outputs that a viewer adds to an active
protocol.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Type

from pwem.objects import Coordinate, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import RELATION_SOURCE, Set, String

from cryoice_scipion.constants import BAD
from cryoice_scipion.convert import LABEL, box_size_of
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.databases import opened
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED
from cryoice_scipion.viewers.labels import Place

GOOD_PLACES, BAD_PLACES = f"{COORDINATES}Good", f"{COORDINATES}Bad"
_SAVED = re.compile(r"(\w+)_Viewer\d+")  # names of saved outputs: the kind, and a number
BUSY_TIMEOUT = 10.0  # s to wait while the run writes an output
_FIXED = ("id", "enabled", "label", "comment", "creation")  # columns of every set


def kind_of(name: str) -> str:
    """Return the kind of a saved output, such as ``outputCoordinates``, by its name; empty: another output."""
    found = _SAVED.fullmatch(name)
    return found.group(1) if found else ""


def next_outputs(protocol: Any, kinds: Sequence[str]) -> List[Tuple[str, str]]:
    """Return unused names and files, with one number, for the next outputs of these kinds that the viewer saves."""
    number = 1
    while True:
        names = [f"{kind}_Viewer{number}" for kind in kinds]
        paths = [protocol._getPath(f"{name[len('output') :]}.sqlite") for name in names]
        if not any(hasattr(protocol, name) or os.path.exists(path) for name, path in zip(names, paths)):
            return list(zip(names, paths))
        number += 1


def write_chosen(path: str, outputs: Sequence[str], ids: Sequence[int]) -> int:
    """Write the items with these ids, and all their attributes, to a new set.

    Parameters
    ----------
    path : str
        The file to write; it appears only when complete.
    outputs : sequence of str
        The files of the sets that contain the items; ids that are in none of them are left out.

    Returns
    -------
    int
        The number of items written.

    Raises
    ------
    CryoIceError
        If the file cannot be written, or a set cannot be read.
    """
    temporary = Path(path).with_name(f".{Path(path).name}.tmp")
    try:
        with contextlib.closing(sqlite3.connect(str(temporary))) as chosen:
            with opened(Path(outputs[0]), BUSY_TIMEOUT) as first:
                first.backup(chosen)
            chosen.execute("CREATE TEMP TABLE wanted (id INTEGER PRIMARY KEY)")
            chosen.executemany("INSERT INTO wanted VALUES (?)", ((int(key),) for key in ids))
            chosen.execute("DELETE FROM Objects WHERE id NOT IN (SELECT id FROM wanted)")
            chosen.commit()
            for other in outputs[1:]:
                _add(chosen, other)
            (number,) = chosen.execute("SELECT COUNT(*) FROM Objects").fetchone()
        os.replace(str(temporary), path)
    except sqlite3.Error as error:
        busy = "locked" in str(error) or "busy" in str(error)
        remedy = "the run is writing; try again in a few seconds" if busy else "free disk space or check the run log"
        raise CryoIceError(path, f"cannot be written ({error})", remedy) from error
    except OSError as error:
        raise CryoIceError(path, f"cannot be written ({error.strerror})", "set write permission") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return int(number)


def _add(chosen: sqlite3.Connection, path: str) -> None:
    """Add the wanted items of another set of the same kind."""
    chosen.execute("ATTACH ? AS other", (os.path.abspath(path),))
    chosen.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_TIMEOUT)}")
    mine, theirs = (
        dict(chosen.execute(f"SELECT label_property, column_name FROM {name}.Classes WHERE label_property != 'self'"))
        for name in ("main", "other")
    )
    labels = [label for label in mine if label in theirs]
    into = ", ".join([*_FIXED, *(mine[label] for label in labels)])
    taken = ", ".join([*_FIXED, *(theirs[label] for label in labels)])
    wanted = "id IN (SELECT id FROM wanted) AND id NOT IN (SELECT id FROM main.Objects)"
    chosen.execute(f"INSERT INTO main.Objects ({into}) SELECT {taken} FROM other.Objects WHERE {wanted}")
    chosen.commit()
    chosen.execute("DETACH other")


def write_places(path: str, names: Dict[int, str], places: Dict[int, List[Place]]) -> int:
    """Write places to a new set of coordinates, bad ones with their class, and return their number.

    Parameters
    ----------
    path : str
        The file to write.
    names : dict
        The names of the micrographs, by id.
    places : dict
        Places by the id of the micrograph, all good or all bad.
    """
    output = SetOfCoordinates(filename=path)
    for key, found in places.items():
        for place in found:
            item = Coordinate(x=int(round(place.x)), y=int(round(place.y)))
            if place.kind == BAD:
                setattr(item, LABEL, String(place.label))
            item.setMicId(key)
            item.setMicName(names[key])
            output.append(item)
    number = int(output.getSize())
    output.write()
    output.close()
    return number


def register(protocol: Any, name: str, path: str, comment: str) -> None:
    """Register a written set as an output of the protocol.

    Parameters
    ----------
    protocol : CryoIceProtScreen
        The protocol as currently stored in the project.
    """
    kind = kind_of(name)
    made: Type[Any] = SetOfMicrographs if kind in (MICROGRAPHS, DISCARDED) else SetOfCoordinates
    output = made(filename=path)
    output.copyInfo(getattr(protocol, kind if hasattr(protocol, kind) else COORDINATES))
    if kind in (GOOD_PLACES, BAD_PLACES):  # on the screened micrographs, which need not be those that were picked
        output.setMicrographs(protocol.getInputMicrographsPointer())
        box_size = box_size_of(protocol.inputCoordinates.get()) * protocol.getBoxScale()
        output.setBoxSize(int(round(box_size)) or None)
    output.setStreamState(Set.STREAM_CLOSED)
    output.setObjComment(comment)
    output.write()
    protocol._defineOutputs(**{name: output})
    protocol._store(output)
    output.close()
    keep_relations(protocol)


def keep_relations(protocol: Any) -> None:
    """Restore the source relations of the sets saved by viewers.

    While a run is active, pyworkflow overwrites the relations of its protocol with those that the run knows.
    """
    known = {relation["object_child_id"] for relation in protocol.getRelations()}
    saved = [(kind_of(name), output) for name, output in protocol.iterOutputAttributes() if kind_of(name)]
    lost = [(kind, output) for kind, output in saved if output.getObjId() not in known]
    for kind, output in lost:
        of_picks = kind in (COORDINATES, REJECTED)
        source = protocol.inputCoordinates if of_picks else protocol.getInputMicrographsPointer()
        protocol._defineRelation(RELATION_SOURCE, source, output)
    if lost:
        protocol.mapper.commit()


def files_of(protocol: Any, names: Sequence[str]) -> Tuple[str, ...]:
    """Return the files of these outputs of a run; none before the run has created them."""
    return tuple(getattr(protocol, name).getFileName() for name in names if hasattr(protocol, name))
