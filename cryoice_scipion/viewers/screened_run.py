# SPDX-License-Identifier: GPL-3.0-or-later
"""Access to a screening for its viewer: the run folder, positions and scores of coordinates, and saving new sets."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from cryoice_scipion.constants import KEEP_ALL
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.score_cutoff import UNKNOWN
from cryoice_scipion.databases import in_parts, opened, table_prefix
from cryoice_scipion.protocols.protocol_screen import FOLDER, CryoIceProtScreen
from cryoice_scipion.protocols.protocol_train import CryoIceProtTrain
from cryoice_scipion.protocols.screen_form import MODEL_OBJECT
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED
from cryoice_scipion.protocols.training_protocol import OUTPUT_MODEL
from cryoice_scipion.streams import MicrographReader
from cryoice_scipion.viewers import saved_sets
from cryoice_scipion.viewers.labels import Place

BUSY_TIMEOUT = 5.0  # s to wait while another protocol writes the input
#: Attributes in which imports and pickers store their score; the first one that a set has is used.
SCORES = ("_pickScore", "_rlnAutopickFigureOfMerit", "_cryoloScore", "_topazScore", "_score")

Places = Dict[str, Callable[[], Dict[int, Any]]]
Done = Callable[[Dict[str, int]], None]  # called with the number of items of each new output


class NewSet(NamedTuple):
    """A set to save: its kind, a function that writes a file and returns the number of items, and a comment."""

    kind: str
    write: Callable[[str], int]
    comment: str


class ScreenedRun:
    """A screening protocol of the project. Only its saved sets change the project database."""

    def __init__(self, project: Any, protocol: Any) -> None:
        """Read the settings of a protocol, which may still be running."""
        self._project, self._key = project, protocol.getObjId()
        self.title = protocol.getRunName()
        self.folder = Path(protocol.getPath(*FOLDER))
        self._take_settings(protocol)

    def read_settings(self) -> None:
        """Read the settings again, because the run was started anew; a deleted run keeps them."""
        with contextlib.suppress(CryoIceError):
            self._take_settings(self._now())

    def _take_settings(self, protocol: Any) -> None:
        self.threshold: Optional[float] = protocol.getUsedThreshold()
        self.margin: float = protocol.margin.get() or 0.0  # Å
        picked = protocol.inputCoordinates.get()
        self._picked = picked and picked.getFileName()
        self._prefix = table_prefix(picked) if picked else ""
        self._scale = protocol.getBoxScale() if picked else 1.0
        self._scored = np.zeros((2, 0))  # ids, ascending, and scores of the picker that are read
        self._checked: Tuple[Any, ...] = ()  # number and sum of these scores in the file

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
        return self._read(ids, ["_x", "_y"]) * self._scale

    def scores(self, ids: Any) -> Optional[Any]:
        """Return the picker's score of coordinates, shape (n,), NaN if unknown; None if the picker gave none.

        Only coordinates that are new since the last call are read, unless known ones have changed.
        """
        if not self._picked or not Path(self._picked).is_file():
            return None
        try:
            with opened(Path(self._picked), BUSY_TIMEOUT) as connection:
                known = self._columns(connection)
                attribute = next((name for name in SCORES if name in known), None)
                if attribute is None:
                    return None
                column, table = known[attribute], f"{self._prefix}Objects"
                last = int(self._scored[0, -1]) if self._scored.size else 0
                check = f"SELECT count(*), total({column}), total(id * {column}) FROM {table} WHERE id <= ?"
                if last and connection.execute(check, [last]).fetchone() != self._checked:
                    self._scored, last = np.zeros((2, 0)), 0
                query = f"SELECT id, {column} FROM {table} WHERE id > ? ORDER BY id"
                rows = connection.execute(query, [last]).fetchall()
                last = rows[-1][0] if rows else last
                self._checked = connection.execute(check, [last]).fetchone()
        except sqlite3.OperationalError:  # busy: read at the next call
            rows = []
        new = np.array(rows, dtype=np.float64).reshape(-1, 2).T  # None becomes NaN
        self._scored = np.concatenate([self._scored, np.where(new == UNKNOWN, np.nan, new)], axis=1)
        if not self._scored.size:
            return None
        place = np.searchsorted(self._scored[0], ids).clip(max=self._scored.shape[1] - 1)
        return np.where(self._scored[0][place] == ids, self._scored[1][place], np.nan)

    def _columns(self, connection: sqlite3.Connection) -> Dict[str, str]:
        """Return the column of each attribute of the coordinates."""
        return dict(connection.execute(f"SELECT label_property, column_name FROM {self._prefix}Classes"))

    def _read(self, ids: Any, attributes: Sequence[str]) -> Any:
        """Return attributes of input coordinates, shape (n, attributes); NaN if unknown."""
        values = np.full((len(ids), len(attributes)), np.nan)
        if not len(ids) or not self._picked:
            return values
        rows = {int(key): row for row, key in enumerate(ids)}
        try:
            with opened(Path(self._picked), BUSY_TIMEOUT) as connection:
                names = self._columns(connection)
                columns = ", ".join(names[name] for name in attributes)
                query = f"SELECT id, {columns} FROM {self._prefix}Objects WHERE id IN "
                for part in in_parts(list(rows)):
                    for key, *found in connection.execute(f"{query} ({','.join('?' * len(part))})", part):
                        values[rows[key]] = found
        except (sqlite3.Error, KeyError) as error:
            remedy = "check the protocol that created it"
            raise CryoIceError(self._picked, f"cannot be read ({error})", remedy) from None
        return values

    def save_coordinates(self, ids: Any, threshold: float, run: Callable[..., None], done: Done) -> None:
        """Save coordinates as a new output of the protocol; see :meth:`_save`.

        Parameters
        ----------
        ids : numpy.ndarray, (n,)
            Ids of the coordinates that are kept at the threshold.

        Raises
        ------
        CryoIceError
            If there are no coordinates to save, or the project cannot be written.
        """
        outputs = self._outputs((COORDINATES, REJECTED))
        if not len(ids):
            raise CryoIceError(self.title, "no coordinates are kept at this threshold", "lower the threshold")
        comment = "all that could be screened" if threshold == KEEP_ALL else f"goodness of at least {threshold:.3f}"
        self._save([NewSet(COORDINATES, lambda path: saved_sets.write_chosen(path, outputs, ids), comment)], run, done)

    def save_micrographs(self, accepted: Any, discarded: Any, run: Callable[..., None], done: Done) -> None:
        """Save the accepted and the discarded micrographs, given by their ids; see :meth:`_save`."""
        outputs = self._outputs((MICROGRAPHS, DISCARDED))

        def writer(ids: Any) -> Callable[[str], int]:
            return lambda path: saved_sets.write_chosen(path, outputs, ids)

        comment = "as accepted and rejected in the viewer"
        parts = [NewSet(MICROGRAPHS, writer(accepted), comment), NewSet(DISCARDED, writer(discarded), comment)]
        self._save(parts, run, done)

    def save_places(
        self, places: Dict[str, Callable[[], Dict[int, List[Place]]]], run: Callable[..., None], done: Done
    ) -> None:
        """Save positions as new sets of coordinates on the screened micrographs; see :meth:`_save`.

        Parameters
        ----------
        places : dict
            For each kind of output, a function that returns the places by the id of the micrograph.
        """
        pointer = self._now().getInputMicrographsPointer()

        def writer(read: Callable[[], Dict[int, List[Place]]]) -> Callable[[str], int]:
            def write(path: str) -> int:
                names = {row.id: row.name for row in MicrographReader(pointer).look()}
                return saved_sets.write_places(path, names, read())

            return write

        self._save([NewSet(kind, writer(read), "marked in the viewer") for kind, read in places.items()], run, done)

    def open_training(self, names: Sequence[str], view: Any) -> None:
        """Open the form of a training with saved places, in the view of a project's window.

        Parameters
        ----------
        names : sequence of str
            The outputs with the places.

        Raises
        ------
        CryoIceError
            If there is no such window.
        """
        open_form = _form_opener("train ice detector", view)
        training = self._project.newProtocol(CryoIceProtTrain)
        for name in names:
            kind = saved_sets.kind_of(name)
            pointer = training.goodCoordinates if kind == saved_sets.GOOD_PLACES else training.badCoordinates
            pointer.set(self._now())
            pointer.setExtended(name)
        open_form(training)

    def open_screening(self, view: Any) -> None:
        """Open the form of a screening like this one, with the model that was trained last, in the same view.

        Raises
        ------
        CryoIceError
            If there is no such window or no such model.
        """
        open_form = _form_opener("screen micrographs", view)
        trained = [one for one in self._project.getRuns() if isinstance(one, CryoIceProtTrain)]
        trained = [one for one in trained if one.hasAttribute(OUTPUT_MODEL)]
        if not trained:
            raise CryoIceError(self.title, "no model was trained in this project", "press Train ... and Execute first")
        screening = self._project.newProtocol(CryoIceProtScreen)
        screening.copyDefinitionAttributes(self._now())
        screening.modelSource.set(MODEL_OBJECT)
        screening.inputModel.set(max(trained, key=lambda one: one.getObjId()))
        screening.inputModel.setExtended(OUTPUT_MODEL)
        open_form(screening)

    def _outputs(self, names: Sequence[str]) -> Tuple[str, ...]:
        outputs = saved_sets.files_of(self._now(), names)
        if len(outputs) < len(names):
            raise CryoIceError(self.title, "the run has no outputs yet", "try again when it has some")
        return outputs

    def _save(self, parts: List[NewSet], run: Callable[..., None], done: Done) -> None:
        """Write sets, and register those that are not empty as outputs of the protocol.

        Parameters
        ----------
        run : callable
            Runs a function in another thread and passes its result to a function in this one.
        done : callable
            Called with the number of items of each new output.
        """
        if self._project.openedAsReadOnly():
            raise CryoIceError(self.title, "the project is read-only", "open it with write permission")
        outputs = saved_sets.next_outputs(self._now(), [part.kind for part in parts])

        def enter(numbers: List[int]) -> None:
            saved = {}
            for (name, path), part, number in zip(outputs, parts, numbers):
                if number:
                    saved_sets.register(self._now(), name, path, part.comment)
                    saved[name] = number
                else:
                    with contextlib.suppress(FileNotFoundError):
                        Path(path).unlink()
            if not saved:
                raise CryoIceError(self.title, "these items are not in the outputs yet", "try again later")
            done(saved)

        run(lambda: [part.write(path) for (_, path), part in zip(outputs, parts)], enter)

    def keep_relations(self) -> None:
        """Restore the source relations of saved sets; see ``saved_sets.keep_relations``."""
        protocol = self._now()
        if hasattr(protocol, COORDINATES) and not self._project.openedAsReadOnly():
            saved_sets.keep_relations(protocol)

    def _now(self) -> Any:
        """Return the protocol as currently stored in the project, which reloads it during a run."""
        try:
            return self._project.getProtocol(self._key)
        except Exception as error:  # pyworkflow raises nothing narrower
            if "Invalid protocol id" not in str(error):
                raise
            raise CryoIceError(self.title, "is no longer in the project", "close this window") from error


def _form_opener(name: str, view: Any) -> Callable[[Any], None]:
    """Return what opens the form of a protocol in the view of a project's window."""
    if not hasattr(view, "_openProtocolForm"):
        raise CryoIceError(name, "needs the window of the project", "open its form there")
    opener: Callable[[Any], None] = view._openProtocolForm
    return opener
