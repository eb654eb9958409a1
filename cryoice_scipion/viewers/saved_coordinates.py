# SPDX-License-Identifier: GPL-3.0-or-later
"""Save the coordinates at another threshold as an additional output of a screening.

A running protocol writes its own database and its four outputs; this module only reads them. The new set is a separate
file. It is registered in the project database, as pyworkflow does for outputs that a viewer adds to an active
protocol.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Sequence, Tuple

from pwem.objects import SetOfCoordinates
from pyworkflow.object import RELATION_SOURCE, Set

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.databases import opened
from cryoice_scipion.protocols.screen_outputs import COORDINATES, REJECTED

PREFIX = f"{COORDINATES}_Viewer"
BUSY_TIMEOUT = 10.0  # s to wait while the run writes an output
_FIXED = ("id", "enabled", "label", "comment", "creation")  # columns of every set


def next_output(protocol: Any) -> Tuple[str, str]:
    """Return an unused name and file for the next output that the viewer saves."""
    number = 1
    while True:
        path = protocol._getPath(f"coordinates_Viewer{number}.sqlite")
        if not hasattr(protocol, f"{PREFIX}{number}") and not os.path.exists(path):
            return f"{PREFIX}{number}", path
        number += 1


def write_chosen(path: str, outputs: Sequence[str], ids: Sequence[int]) -> int:
    """Write the coordinates with these ids, and all their attributes, to a new set.

    Parameters
    ----------
    path : str
        The file to write; it appears only when complete.
    outputs : sequence of str
        The files of the sets that contain the coordinates; ids that are in none of them are left out.

    Returns
    -------
    int
        The number of coordinates written.

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


def register(protocol: Any, name: str, path: str, threshold: float) -> None:
    """Register a written set as an output of the protocol.

    Parameters
    ----------
    protocol : CryoIceProtScreen
        The protocol as currently stored in the project.
    """
    output = SetOfCoordinates(filename=path)
    output.copyInfo(getattr(protocol, COORDINATES))
    output.setStreamState(Set.STREAM_CLOSED)
    output.setObjComment(f"goodness of at least {threshold:.3f}")
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
    saved = [output for name, output in protocol.iterOutputAttributes() if name.startswith(PREFIX)]
    lost = [output for output in saved if output.getObjId() not in known]
    for output in lost:
        protocol._defineRelation(RELATION_SOURCE, protocol.inputCoordinates, output)
    if lost:
        protocol.mapper.commit()


def outputs_of(protocol: Any) -> Tuple[str, ...]:
    """Return the files of the sets of screened coordinates; none before the run has created them."""
    return tuple(getattr(protocol, name).getFileName() for name in (COORDINATES, REJECTED) if hasattr(protocol, name))
