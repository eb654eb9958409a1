# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that imports coordinate files of other programs as a set of coordinates."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

from pwem.objects import Coordinate, SetOfCoordinates
from pyworkflow.object import Set
from pyworkflow.protocol import STEPS_SERIAL, ProtStreamingBase, params

from cryoice_scipion import convert, set_writing
from cryoice_scipion.constants import AMBIGUOUS, UNMATCHED
from cryoice_scipion.convert import MicrographRow
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import read_picks, rescale
from cryoice_scipion.core.formats.table import suffixes_in_words
from cryoice_scipion.core.records import Pick, PickCounts
from cryoice_scipion.core.results.balance import complaints_on, file_lines, names_in_short, sentence
from cryoice_scipion.protocols.picks_input import ImportedPicks, PicksInput
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.streams import CoordinateReader, MicrographReader

OUTPUT_COORDINATES = "outputCoordinates"


class CryoIceProtImportCoordinates(CryoIceProtocol, ProtStreamingBase):
    """Imports coordinates (picks) that other programs wrote. The plugins of these programs are not needed.

    Reads the files of RELION, EMAN, crYOLO, Xmipp, CryoPPP, Topaz and others: a single file, or a folder with one file
    per micrograph. Coordinates are matched with micrographs by name. The summary
    counts coordinates without a matching micrograph. The protocol works in streaming: it imports coordinates while
    the picking program writes them.
    """

    _label = "import picks"
    _possibleOutputs = {OUTPUT_COORDINATES: SetOfCoordinates}
    stepsExecutionMode = STEPS_SERIAL  # one step, so no threads

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Import")
        form.addParam(
            "inputMicrographs",
            params.PointerParam,
            pointerClass="SetOfMicrographs",
            important=True,
            label="Micrographs",
            help="The micrographs on which the particles were picked, with the same pixel size.",
        )
        form.addParam(
            "coordinatesPath",
            params.PathParam,
            important=True,
            label="Coordinates (file or folder)",
            help=f"A coordinate file ({suffixes_in_words()}), or a folder with coordinate files of one format. Files "
            "are matched with micrographs by name; common suffixes such as _DW, _aligned or _autopick are ignored.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px; 0: from file)",
            help="Box size of the output coordinates, in pixels of the micrographs. *0* (default): the box size in the "
            "coordinate files. It is required for .star, .pos and .txt files, which usually do not contain it.",
        )
        self._defineStreamingParams(form)

    @staticmethod
    def _defineStreamingParams(form: Any) -> None:
        form.addSection(label="Streaming")
        form.addParam(
            "dataStreaming",
            params.BooleanParam,
            default=False,
            label="Process data in streaming?",
            help="*Yes*: import coordinates while another program writes them. The file or folder does not have to "
            "exist yet. *No* (default): import the coordinates that exist now. If the input micrographs are still "
            "being acquired, the protocol always works in streaming.",
        )
        form.addParam(
            "timeout",
            params.IntParam,
            default=60,
            condition="dataStreaming",
            label="Timeout (s)",
            help="The import ends when the set of micrographs is closed and no coordinate file has been added or "
            "changed for this time (s). It never ends while the set of micrographs is open. Default: 60 s. Increase "
            "it if the picking program pauses for longer.",
        )
        form.addParam(
            "streamingSleepOnWait",
            params.IntParam,
            default=5,
            condition="dataStreaming",
            expertLevel=params.LEVEL_ADVANCED,
            label="Sleep when waiting (s)",
            help="How long to wait (s) before checking again for new files and micrographs. Default: 5 s.",
        )

    # ---- steps ----------------------------------------------------------------------------------------------

    def stepsGeneratorStep(self) -> None:
        """Import the existing coordinates, or wait for new ones in streaming."""
        if self._isStreaming():
            self._importArriving(self.timeout.get())
        elif self.hasAttribute(OUTPUT_COORDINATES):  # other protocols may have read it: its items keep their ids
            self._importArriving(0)
        else:
            self.createOutputStep()

    def createOutputStep(self) -> None:
        """Read the coordinate files and create the output set."""
        with self._oneLine():
            picks = read_picks(Path(self.coordinatesPath.get()))
            rescale(picks, self.inputMicrographs.get().getSamplingRate())
            output = self._newOutput(self.boxSize.get() or convert.typical_box_size(picks.table))
            matches = convert.fill_coordinates(output, picks.table, self.inputMicrographs.get())
            given = matches.counts(picks)
            self._refuseIfUseless(output.getSize(), given, sorted(matches.unmatched))
        for line in [*picks.warnings, *matches.warnings]:
            self.warning(line)
        self._setSummary(_balance(output.getSize(), given, sorted(matches.unmatched)))
        self._defineOutputs(**{OUTPUT_COORDINATES: output})
        self._defineSourceRelation(self.inputMicrographs, output)

    def _importArriving(self, timeout: float) -> None:
        """Append coordinates to the output until the input ends; after a restart, continue where the output ends."""
        path = Path(self.coordinatesPath.get().strip())
        with self._oneLine():
            pixel_size = self.inputMicrographs.get().getSamplingRate()
            source = PicksInput(MicrographReader(self.inputMicrographs), path, self.boxSize.get(), pixel_size)
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
            self._finish(source)

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
            set_writing.give_columns(output, Coordinate(x=0, y=0))
            self._updateOutputSet(OUTPUT_COORDINATES, output, Set.STREAM_OPEN)
            self._defineSourceRelation(self.inputMicrographs, output)

    def _appendNew(self, found: Dict[int, Tuple[MicrographRow, List[Pick]]], known: ImportedPicks) -> None:
        items: List[Coordinate] = []
        for row, picks in found.values():
            positions, gone = known.take(row.id, picks)
            if gone:
                self.warning(f"{row.name}: {gone} picks are no longer in the coordinate file; they stay in the output")
            for x, y in positions:
                known.last += 1
                items.append(_coordinate(known.last, x, y, row))
        if not items:
            return
        with self._writing(OUTPUT_COORDINATES):
            set_writing.enable_append(self.outputCoordinates, items[0])
            for item in items:
                self.outputCoordinates.append(item)
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_OPEN)
        self.info(f"Imported {len(items)} new coordinates of {len(found)} micrographs")

    def _finish(self, source: PicksInput) -> None:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            reason = "no coordinates were found, and the box size is unknown"
            raise CryoIceError(self.coordinatesPath, reason, "check the path and set 'Box size'")
        with self._writing(OUTPUT_COORDINATES):
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_CLOSED)
        given, imported = source.counts(), self.outputCoordinates.getSize()
        self._refuseIfUseless(imported, given, source.unmatched_names())
        lines = _balance(imported, given, source.unmatched_names())
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
            reason = f"none of the {given.rows} coordinates matches an input micrograph by name"
            raise CryoIceError(
                self.coordinatesPath, f"{reason} (names in the files: {names_in_short(names)})", "check 'Micrographs'"
            )

    def _setSummary(self, lines: List[str]) -> None:
        for line in lines:
            self.warning(line)
        self.summaryVar.set("\n".join(lines))

    # ---- information ----------------------------------------------------------------------------------------

    def _isStreaming(self) -> bool:
        """Return whether coordinates may arrive during the run."""
        micrographs = self.inputMicrographs.get()
        return bool(self.dataStreaming.get() or (micrographs is not None and micrographs.isStreamOpen()))

    def _validate(self) -> List[str]:
        path = (self.coordinatesPath.get() or "").strip()
        if not path:
            return ["Coordinates (file or folder) is empty. Enter a coordinate file or a folder."]
        if self._isStreaming():
            return []  # the files may not exist yet
        return self._complaints(lambda: read_picks(Path(path)))

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ["Not imported yet."]
        output = self.outputCoordinates
        lines = [f"{output.getSize()} coordinates, box size {output.getBoxSize()} px, from {self.coordinatesPath}"]
        if output.isStreamOpen():
            lines.append("Running or stopped; more coordinates may follow")
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return []
        return [f"{self.outputCoordinates.getSize()} coordinates were imported from {self.coordinatesPath}."]

    def _citations(self) -> List[str]:
        return []


def _balance(imported: int, given: PickCounts, unmatched: List[str]) -> List[str]:
    """Return one line with the coordinate counts, followed by the problems that a user should check."""
    lines = [sentence(given.rows, given.files, [(imported, "imported")], given.left_out)]
    if unmatched:
        lines.append(f"No input micrograph matches these names ({len(unmatched)}): {names_in_short(unmatched)}")
    gone = imported - given.matched
    if gone > 0:
        lines.append(f"{gone} imported coordinates are no longer in the files; they stay in the output")
    elif gone < 0:
        lines.append(f"{-gone} coordinates in the files are not in the output; press Continue to import them")
    return lines + file_lines(given) + complaints_on(given, given.left_out)


def _coordinate(key: int, x: int, y: int, micrograph: MicrographRow) -> Coordinate:
    item = Coordinate(x=x, y=y)
    item.setObjId(key)
    item.setMicId(micrograph.id)
    item.setMicName(micrograph.name)
    return item
