# SPDX-License-Identifier: GPL-3.0-or-later
"""Access to a screening for its viewer: the run folder, the positions of coordinates, and saving new sets."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.databases import in_parts, opened
from cryoice_scipion.protocols.protocol_screen import FOLDER
from cryoice_scipion.protocols.screen_outputs import COORDINATES
from cryoice_scipion.viewers import saved_coordinates

BUSY_TIMEOUT = 5.0  # s to wait while another protocol writes the input


class ScreenedRun:
    """A screening protocol of the project. Only its saved sets change the project database."""

    def __init__(self, project: Any, protocol: Any) -> None:
        """Read the settings of a protocol, which may still be running."""
        self._project, self._key = project, protocol.getObjId()
        self.title = protocol.getRunName()
        self.folder = Path(protocol.getPath(*FOLDER))
        self.threshold: Optional[float] = protocol.getUsedThreshold()
        picked = protocol.inputCoordinates.get()
        self._picked = picked and picked.getFileName()
        self._prefix = ((picked and picked.getPrefix()) or "").strip()
        self._scale = protocol.getBoxScale() if picked else 1.0

    def positions(self, ids: Any) -> Any:
        """Return x and y of coordinates in px of the screened micrographs; NaN if unknown.

        Parameters
        ----------
        ids : numpy.ndarray, (n,)

        Returns
        -------
        numpy.ndarray, (n, 2)

        Raises
        ------
        CryoIceError
            If the input cannot be read.
        """
        positions = np.full((len(ids), 2), np.nan)
        if not len(ids) or not self._picked:
            return positions
        rows = {int(key): row for row, key in enumerate(ids)}
        try:
            with opened(Path(self._picked), BUSY_TIMEOUT) as connection:
                names = dict(connection.execute(f"SELECT label_property, column_name FROM {self._prefix}Classes"))
                query = f"SELECT id, {names['_x']}, {names['_y']} FROM {self._prefix}Objects WHERE id IN "
                for part in in_parts(list(rows)):
                    for key, x, y in connection.execute(f"{query} ({','.join('?' * len(part))})", part):
                        positions[rows[key]] = x, y
        except (sqlite3.Error, KeyError) as error:
            remedy = "check the protocol that created it"
            raise CryoIceError(self._picked, f"cannot be read ({error})", remedy) from None
        return positions * self._scale

    def save(self, ids: Any, threshold: float, run: Callable[..., None], done: Callable[[str, int], None]) -> None:
        """Save coordinates as a new output of the protocol.

        Parameters
        ----------
        ids : numpy.ndarray, (n,)
            Ids of the coordinates that are kept at the threshold.
        run : callable
            Runs a function in another thread and passes its result to a function in this one.
        done : callable
            Called with the name of the output and its number of coordinates.

        Raises
        ------
        CryoIceError
            If there are no coordinates to save, or the project cannot be written.
        """
        protocol = self._now()
        if self._project.openedAsReadOnly():
            raise CryoIceError(self.title, "the project is read-only", "open it with write permission")
        outputs = saved_coordinates.outputs_of(protocol)
        if len(outputs) < 2:
            raise CryoIceError(self.title, "the run has no output coordinates yet", "try again when it has some")
        if not len(ids):
            raise CryoIceError(self.title, "no coordinates are kept at this threshold", "lower the threshold")
        name, path = saved_coordinates.next_output(protocol)

        def enter(number: int) -> None:
            if not number:
                Path(path).unlink()
                raise CryoIceError(self.title, "these coordinates are not in the outputs yet", "try again later")
            saved_coordinates.register(self._now(), name, path, threshold)
            done(name, number)

        run(lambda: saved_coordinates.write_chosen(path, outputs, ids), enter)

    def keep_relations(self) -> None:
        """Restore the source relations of saved sets; see ``saved_coordinates.keep_relations``."""
        protocol = self._now()
        if hasattr(protocol, COORDINATES) and not self._project.openedAsReadOnly():
            saved_coordinates.keep_relations(protocol)

    def _now(self) -> Any:
        """Return the protocol as currently stored in the project, which reloads it during a run."""
        protocol = self._project.getProtocol(self._key)
        if protocol is None:
            raise CryoIceError(self.title, "is no longer in the project", "close this window")
        return protocol
