# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that imports coordinate files of other programs as a set of coordinates."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Dict, List, Tuple

from pwem.objects import Coordinate, SetOfCoordinates
from pyworkflow.object import Set
from pyworkflow.protocol import STEPS_SERIAL, ProtStreamingBase

from cryoice_scipion import convert, picks_from_files, set_writing
from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED
from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, counted, plural
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.records import PickCounts
from cryoice_scipion.core.results.balance import complaints_on, file_lines, names_in_short, sentence
from cryoice_scipion.picks_from_files import ImportedPick, PicksFromFiles
from cryoice_scipion.protocols.fixed_input import FixedInput
from cryoice_scipion.protocols.import_form import ImportForm
from cryoice_scipion.protocols.picks_input import ImportedPicks, PicksInput
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.streams import CoordinateReader, MicrographReader

OUTPUT_COORDINATES = "outputCoordinates"


class CryoIceProtImportCoordinates(ImportForm, FixedInput, CryoIceProtocol, ProtStreamingBase):
    """Imports coordinates (picks) that other programs wrote. The plugins of these programs are not needed.

    Reads the files of RELION, EMAN, crYOLO, Xmipp, CryoPPP, Topaz and others: a single file, or a folder with one file
    per micrograph. Coordinates are matched with micrographs by name. The summary
    counts coordinates without a matching micrograph. The protocol works in streaming: it imports coordinates while
    the picking program writes them.
    """

    _label = "import picks"
    _possibleOutputs = {OUTPUT_COORDINATES: SetOfCoordinates}
    stepsExecutionMode = STEPS_SERIAL  # one step, so no threads
    _fixed = ("inputMicrographs", "boxSize", "coordinatesPixelSize", "flipY")

    # ---- steps ----------------------------------------------------------------------------------------------

    def stepsGeneratorStep(self) -> None:
        """Import the existing coordinates, or wait for new ones in streaming."""
        self._recordInput()
        if self._isStreaming():
            self._importArriving(self.timeout.get())
        elif self.hasAttribute(OUTPUT_COORDINATES):  # other protocols may have read it: its items keep their ids
            self._importArriving(0)
        else:
            self.createOutputStep()

    def createOutputStep(self) -> None:
        """Read the coordinate files and create the output set."""
        with self._oneLine():
            picks = read_picks(self._givenPath())
            settings = self._getSettings()
            settings.select(picks)
            output = self._newOutput(self.boxSize.get() or settings.box_size(picks.table))
            rows = convert.read_micrographs(self.inputMicrographs.get())
            matches = picks_from_files.match_by_name(picks, rows)
            for row in rows:
                for pick in settings.convert(picks.table.iloc[matches.rows[row.id]], row):
                    output.append(picks_from_files.item_of(None, pick, row))
            set_writing.give_columns(output, picks_from_files.example())
            given = matches.counts(picks)
            self._refuseIfUseless(output.getSize(), given, sorted(matches.unmatched))
        for line in [*picks.warnings, *matches.warnings]:
            self.warning(line)
        self._setSummary(_balance(output.getSize(), given, sorted(matches.unmatched)) + settings.notes())
        self._defineOutputs(**{OUTPUT_COORDINATES: output})
        self._defineSourceRelation(self.inputMicrographs, output)

    def _importArriving(self, timeout: float) -> None:
        """Append coordinates to the output until the input ends; after a restart, continue where the output ends."""
        path = self._givenPath()
        with self._oneLine():
            settings = self._getSettings()
            source = PicksInput(MicrographReader(self.inputMicrographs), path, self.boxSize.get(), settings)
            with contextlib.closing(source):
                known = self._resume()
                if not path.exists():
                    self.info(f"{path} does not exist yet; waiting for it")
                while True:
                    found = source.look()
                    self._open(source.box)
                    self._appendNew(found, known)
                    if source.is_over(timeout):
                        break
                    time.sleep(max(1, self._getStreamingSleepOnWait()))
            self._finish(source, settings)

    def _resume(self) -> ImportedPicks:
        """Open the output of an earlier session again, and return the coordinates that are in it."""
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ImportedPicks({})
        with self._writing(OUTPUT_COORDINATES):
            set_writing.remove_ids(self.outputCoordinates, [])  # updates the item count after a killed run
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_OPEN)
        reader = CoordinateReader(convert.pointer_to(self, OUTPUT_COORDINATES))
        found = reader.look()
        while not reader.seen:  # the file is busy; without its content everything would be imported twice
            found = reader.look()
        return ImportedPicks(found)

    def _open(self, box: int) -> None:
        """Create the output once its box size is known, even if empty: other protocols wait for it."""
        if self.hasAttribute(OUTPUT_COORDINATES) or not box:
            return
        with self._writing(OUTPUT_COORDINATES):
            output = self._newOutput(box)
            set_writing.give_columns(output, picks_from_files.example())
            self._updateOutputSet(OUTPUT_COORDINATES, output, Set.STREAM_OPEN)
            self._defineSourceRelation(self.inputMicrographs, output)

    def _appendNew(self, found: Dict[int, Tuple[MicrographRow, List[ImportedPick]]], known: ImportedPicks) -> None:
        items: List[Coordinate] = []
        for row, picks in found.values():
            fresh, gone = known.take(row.id, picks)
            if gone:
                what, stay = counted(gone, "pick is", "picks are"), plural(gone, "it stays", "they stay")
                self.warning(f"{row.name}: {what} no longer in the coordinate file; {stay} in the output")
            for pick in fresh:
                known.last += 1
                items.append(picks_from_files.item_of(known.last, pick, row))
        if not items:
            return
        with self._writing(OUTPUT_COORDINATES):
            set_writing.enable_append(self.outputCoordinates, items[0])
            for item in items:
                self.outputCoordinates.append(item)
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_OPEN)
        self.info(f"Imported {counted(len(items), 'new coordinate')} of {counted(len(found), 'micrograph')}")

    def _finish(self, source: PicksInput, settings: PicksFromFiles) -> None:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            reason = "no coordinates were found, and the box size is unknown"
            raise CryoIceError(self.coordinatesPath, reason, "check the path and set 'Box size'")
        with self._writing(OUTPUT_COORDINATES):
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_CLOSED)
        given, imported = source.counts(), self.outputCoordinates.getSize()
        self._refuseIfUseless(imported, given, source.unmatched_names())
        lines = _balance(imported, given, source.unmatched_names()) + settings.notes()
        if source.incomplete:
            lines.append(
                f"{source.incomplete} failed or was stopped, so micrographs may be missing; press Continue in that "
                "protocol, then in this one"
            )
        self._setSummary(lines)

    def _newOutput(self, box: int) -> SetOfCoordinates:
        if not box:
            raise CryoIceError(self.coordinatesPath, "does not contain the box size", "set 'Box size' in the form")
        output = self._createSetOfCoordinates(self.inputMicrographs)
        output.setBoxSize(int(box))
        return output

    def _refuseIfUseless(self, imported: int, given: PickCounts, names: List[str]) -> None:
        """Raise an error if there are coordinate files but no coordinate was imported."""
        if imported:
            return
        if not given.files and (given.not_read or given.other):
            first = next(iter([*given.not_read.values(), *given.other]))
            raise CryoIceError(self.coordinatesPath, f"no coordinate file could be read; {first}")
        if given.left_out.get(UNMATCHED) or given.left_out.get(AMBIGUOUS):
            reason = f"of {counted(given.rows, 'coordinate')}, none matches an input micrograph by name"
            raise CryoIceError(
                self.coordinatesPath, f"{reason} (names in the files: {names_in_short(names)})", "check 'Micrographs'"
            )

    def _setSummary(self, lines: List[str]) -> None:
        for line in lines:
            self.warning(line)
        self.summaryVar.set("\n".join(lines))

    # ---- information ----------------------------------------------------------------------------------------

    def _givenPath(self) -> Path:
        return Path(self.coordinatesPath.get().strip())

    def _getSettings(self) -> PicksFromFiles:
        config = ScreenConfig.make(
            coordinates_pixel_size=self.coordinatesPixelSize.get() or None, flip_y=self.flipY.get()
        )
        return PicksFromFiles(self.inputMicrographs.get().getSamplingRate(), config, self.minScore.get())

    def _isStreaming(self) -> bool:
        """Return whether coordinates may arrive during the run."""
        micrographs = self.inputMicrographs.get()
        return bool(self.dataStreaming.get() or (micrographs is not None and micrographs.isStreamOpen()))

    def _validate(self) -> List[str]:
        if not (self.coordinatesPath.get() or "").strip():
            return ["Coordinates (file or folder) is empty. Enter a coordinate file or a folder."]
        errors = self._validateContinued() + self._validateNotNegative("boxSize", "coordinatesPixelSize")
        if errors or self._isStreaming():
            return errors  # in streaming, the files may not exist yet
        return self._complaints(lambda: read_picks(self._givenPath()))

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ["Not imported yet."]
        output = self.outputCoordinates
        number = counted(output.getSize(), "coordinate")
        lines = [f"{number}, box size {output.getBoxSize()} px, from {self.coordinatesPath}"]
        if output.isStreamOpen():
            lines.append("Running or stopped; more coordinates may follow")
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return []
        number = counted(self.outputCoordinates.getSize(), "coordinate was", "coordinates were")
        return [f"{number} imported from {self.coordinatesPath}."]

    def _citations(self) -> List[str]:
        return []


def _balance(imported: int, given: PickCounts, unmatched: List[str]) -> List[str]:
    """Return one line with the coordinate counts, followed by the problems that a user should check."""
    lines = [sentence(given.rows, given.files, [(imported, "imported")], given.left_out)]
    if unmatched:
        lines.append(f"No input micrograph matches these names ({len(unmatched)}): {names_in_short(unmatched)}")
    gone = imported - given.matched
    if gone > 0:
        number = counted(gone, "imported coordinate is", "imported coordinates are")
        lines.append(f"{number} no longer in the files; {plural(gone, 'it stays', 'they stay')} in the output")
    elif gone < 0:
        number = counted(-gone, "coordinate in the files is", "coordinates in the files are")
        lines.append(f"{number} not in the output; press Continue to import {plural(-gone, 'it', 'them')}")
    return lines + file_lines(given) + complaints_on(given, given.left_out)
