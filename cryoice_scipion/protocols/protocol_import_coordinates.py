# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files of other programs -> a set of coordinates."""

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
from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.records import Pick, PickCounts
from cryoice_scipion.core.results.balance import complaints_on, file_lines, names_in_short, sentence
from cryoice_scipion.protocols.picks_input import ImportedPicks, PicksInput
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.streams import CoordinateReader, MicrographReader

OUTPUT_COORDINATES = "outputCoordinates"


class CryoIceProtImportCoordinates(CryoIceProtocol, ProtStreamingBase):
    """Reads picks that other programs wrote, without their plugins.

    RELION .star (old and 3.1), EMAN .box, crYOLO .cbox, Xmipp .pos, CryoPPP .csv and Topaz .txt; a file, or a folder
    with one file a micrograph. They are matched with the micrographs by name, and what does not match is counted.
    Works in streaming: picks are handed on while they are written.
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
            help="The micrographs that were picked, at the pixel size they were picked at.",
        )
        form.addParam(
            "coordinatesPath",
            params.PathParam,
            important=True,
            label="Coordinates (file or folder)",
            help="A file (.star, .box, .cbox, .pos, .csv, .txt), or a folder with such files of one kind. Names are "
            "matched with those of the micrographs; usual suffixes such as _DW, _aligned or _autopick are tolerated.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            label="Box size (px; 0: the file's)",
            help="Size of the particles in pixels of the micrographs. 0: as the file says (.box, .cbox and .csv do; "
            ".star, .pos and .txt do not).",
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
            help="Yes: picks are imported while another program writes them; the file or folder need not be there yet. "
            "No: what is there is imported. While the micrographs are still coming, it is always Yes.",
        )
        form.addParam(
            "timeout",
            params.IntParam,
            default=60,
            condition="dataStreaming",
            label="Timeout (s)",
            help="The import ends when the micrographs are complete, and no new or changed file was seen for so many "
            "seconds. As long as micrographs can come, it goes on however long nothing happens.",
        )
        form.addParam(
            "streamingSleepOnWait",
            params.IntParam,
            default=5,
            condition="dataStreaming",
            expertLevel=params.LEVEL_ADVANCED,
            label="Sleep when waiting (s)",
            help="Seconds between two looks at what came.",
        )

    # ---- steps ----------------------------------------------------------------------------------------------

    def stepsGeneratorStep(self) -> None:
        """Import what is there, or what comes."""
        if self._isStreaming():
            self._importWhatComes(self.timeout.get())
        elif self.hasAttribute(OUTPUT_COORDINATES):  # others have read it: what is in it keeps its ids
            self._importWhatComes(0)
        else:
            self.createOutputStep()

    def createOutputStep(self) -> None:
        """Read the files and make the set."""
        with self._oneLine():
            picks = read_picks(Path(self.coordinatesPath.get()))
            output = self._newOutput(self.boxSize.get() or convert.typical_box_size(picks.table))
            matches = convert.fill_coordinates(output, picks.table, self.inputMicrographs.get())
            given = matches.counts(picks)
            self._refuseIfUseless(output.getSize(), given, sorted(matches.unmatched))
        for line in [*picks.warnings, *matches.warnings]:
            self.warning(line)
        self._tell(_balance(output.getSize(), given, sorted(matches.unmatched)))
        self._defineOutputs(**{OUTPUT_COORDINATES: output})
        self._defineSourceRelation(self.inputMicrographs, output)

    def _importWhatComes(self, timeout: float) -> None:
        """Hand picks on until nothing more comes; begun again, go on where the output ends."""
        path = Path(self.coordinatesPath.get().strip())
        with self._oneLine():
            source = PicksInput(MicrographReader(self.inputMicrographs), path, self.boxSize.get())
            with contextlib.closing(source):
                handed = self._resume()
                if not path.exists():
                    self.info(f"{path} is not there yet")
                while True:
                    found = source.look()
                    self._open(source.box)
                    self._handOn(found, handed)
                    if source.is_over(timeout):
                        break
                    time.sleep(max(1, self._getStreamingSleepOnWait()))
            self._finish(source)

    def _resume(self) -> ImportedPicks:
        """Return what an earlier session has handed on, with the output open again."""
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ImportedPicks({})
        with self._writing(OUTPUT_COORDINATES):
            set_writing.remove_ids(self.outputCoordinates, [])  # counts what is there: a killed run may not have
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_OPEN)
        reader = CoordinateReader(convert.pointer_to(self, OUTPUT_COORDINATES))
        found = reader.look()
        while not reader.seen:  # busy; to go on without would bring everything twice
            found = reader.look()
        return ImportedPicks(found)

    def _open(self, box: int) -> None:
        """Make the output as soon as its box size is known, even if it is empty: others wait for it."""
        if self.hasAttribute(OUTPUT_COORDINATES) or not box:
            return
        with self._writing(OUTPUT_COORDINATES):
            output = self._newOutput(box)
            set_writing.give_columns(output, Coordinate(x=0, y=0))
            self._updateOutputSet(OUTPUT_COORDINATES, output, Set.STREAM_OPEN)
            self._defineSourceRelation(self.inputMicrographs, output)

    def _handOn(self, found: Dict[int, Tuple[MicrographRow, List[Pick]]], handed: ImportedPicks) -> None:
        items: List[Coordinate] = []
        for row, picks in found.values():
            positions, gone = handed.take(row.id, picks)
            if gone:
                self.warning(f"{row.name}: {gone} of its picks are not in the file any more; they stay in the output")
            for x, y in positions:
                handed.last += 1
                items.append(_coordinate(handed.last, x, y, row))
        if not items:
            return
        with self._writing(OUTPUT_COORDINATES):
            set_writing.enable_append(self.outputCoordinates, items[0])
            for item in items:
                self.outputCoordinates.append(item)
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_OPEN)
        self.info(f"{len(items)} coordinates of {len(found)} micrographs came")

    def _finish(self, source: PicksInput) -> None:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            reason = "no picks came, and the particles' size is not known"
            raise CryoIceError(self.coordinatesPath, reason, "check the path, and give the box size")
        with self._writing(OUTPUT_COORDINATES):
            self._updateOutputSet(OUTPUT_COORDINATES, self.outputCoordinates, Set.STREAM_CLOSED)
        given, imported = source.counts(), self.outputCoordinates.getSize()
        self._refuseIfUseless(imported, given, source.unmatched_names())
        lines = _balance(imported, given, source.unmatched_names())
        if source.incomplete:
            lines.append(f"{source.incomplete} ended before its time: there may be more; then press Continue in both")
        self._tell(lines)

    def _newOutput(self, box: int) -> SetOfCoordinates:
        if not box:
            raise CryoIceError(self.coordinatesPath, "does not say the particles' size", "give the box size")
        output = self._createSetOfCoordinates(self.inputMicrographs)
        output.setBoxSize(int(box))
        return output

    def _refuseIfUseless(self, imported: int, given: PickCounts, names: List[str]) -> None:
        """Raise an error if there are coordinates or files, and none of them could be imported."""
        if imported:
            return
        if not given.files and (given.not_read or given.other):
            first = next(iter([*given.not_read.values(), *given.other]))
            raise CryoIceError(self.coordinatesPath, f"no coordinate file could be read; {first}")
        if given.left_out.get(UNMATCHED) or given.left_out.get(AMBIGUOUS):
            reason = f"no name matches a micrograph; {given.rows} coordinates are of others ({names_in_short(names)})"
            raise CryoIceError(self.coordinatesPath, reason, "check the input micrographs")

    def _tell(self, lines: List[str]) -> None:
        for line in lines:
            self.warning(line)
        self.summaryVar.set("\n".join(lines))

    # ---- information ----------------------------------------------------------------------------------------

    def _isStreaming(self) -> bool:
        """Return whether picks may come while we run."""
        micrographs = self.inputMicrographs.get()
        return bool(self.dataStreaming.get() or (micrographs is not None and micrographs.isStreamOpen()))

    def _validate(self) -> List[str]:
        path = (self.coordinatesPath.get() or "").strip()
        if not path:
            return ["Give the file or folder with the coordinates."]
        if self._isStreaming():
            return []  # what will be there cannot be screened yet
        return self._complaints(lambda: read_picks(Path(path)))

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return ["Not imported yet."]
        output = self.outputCoordinates
        lines = [f"{output.getSize()} coordinates, box size {output.getBoxSize()} px, from {self.coordinatesPath}"]
        if output.isStreamOpen():
            lines.append("Still running, or stopped: more may come")
        return lines + (self.summaryVar.get("") or "").splitlines()

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_COORDINATES):
            return []
        return [f"{self.outputCoordinates.getSize()} coordinates were imported from {self.coordinatesPath}."]

    def _citations(self) -> List[str]:
        return []


def _balance(imported: int, given: PickCounts, unmatched: List[str]) -> List[str]:
    """Return where each coordinate of the files went, and what a user should look at."""
    lines = [sentence(given.rows, given.files, [(imported, "imported")], given.left_out)]
    if unmatched:
        lines.append(f"Unmatched are coordinates of {len(unmatched)} micrographs: {names_in_short(unmatched)}")
    gone = imported - given.matched
    if gone > 0:
        lines.append(f"{gone} of the imported coordinates are not in the files any more; they stay in the output")
    elif gone < 0:
        lines.append(f"{-gone} coordinates of the files are not in the output: press Continue to import them")
    return lines + file_lines(given) + complaints_on(given, given.left_out)


def _coordinate(key: int, x: int, y: int, micrograph: MicrographRow) -> Coordinate:
    item = Coordinate(x=x, y=y)
    item.setObjId(key)
    item.setMicId(micrograph.id)
    item.setMicName(micrograph.name)
    return item
