# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that finds regions of bad area in a screening, or more places like marked ones."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

from pwem.objects import Coordinate, SetOfCoordinates
from pyworkflow.object import Float, Integer, String
from pyworkflow.protocol import STEPS_SERIAL, params

from cryoice_scipion import convert
from cryoice_scipion.core.errors import CryoIceError, counted, plural
from cryoice_scipion.core.formats.star import read_star
from cryoice_scipion.core.regions.labels import LabelFile, read_labels
from cryoice_scipion.core.results.review_files import LABELS
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening.region_search import FoundRegion, search_regions
from cryoice_scipion.core.screening.region_search_files import BAD_SET, SPACING, SURE, write_found
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.protocols.screened_input import ScreenedInput
from cryoice_scipion.set_writing import give_columns

OUTPUT_REGIONS, OUTPUT_BAD = "outputRegions", "outputCoordinatesBad"
ALL, MARKED, FROM_FILE = range(3)
logger = logging.getLogger(__name__)


class CryoIceProtRegions(ScreenedInput, CryoIceProtocol):
    """Finds regions of bad area in a screening, each with a class and a confidence.

    Without labels it searches all classes of bad area, also below the threshold of the masks. With labels it searches
    more places like those that you have marked, for example in the viewer of the screening. One marked place is enough
    to begin. It works on the stored maps and needs neither the model nor a GPU. The outputs are the centres of the
    regions, and BAD coordinates for *train ice detector*.
    """

    _label = "find regions"
    _possibleOutputs = {OUTPUT_REGIONS: SetOfCoordinates, OUTPUT_BAD: SetOfCoordinates}
    stepsExecutionMode = STEPS_SERIAL  # one step, so no threads

    def _defineParams(self, form: Any) -> None:
        form.addSection(label="Input")
        self._addScreening(
            form,
            "The run of *screen micrographs* to search. If it is still running, only the micrographs that are screened "
            "so far are searched.",
        )
        form.addParam(
            "search",
            params.EnumParam,
            choices=[
                "all classes of bad area",
                "places like those marked in the viewer",
                "places like those in a file",
            ],
            default=ALL,
            label="Search for",
            help="*all classes of bad area* (default): no labels needed. A region that fills a micrograph is found "
            "only if map or grade of the micrograph are bad. Regions can be wrong, so look at the contact sheet "
            "before you train. *places like those marked in the viewer*: the good and bad places that are marked in "
            "the viewer of the screening, or on its page of *cryoice serve*. *places like those in a file*: the good "
            "and bad places in another label file.",
        )
        form.addParam(
            "labelsFile",
            params.FileParam,
            default="",
            condition=f"search=={FROM_FILE}",
            label="Label file",
            help="A labels.json of the viewer or of *cryoice serve*. It names micrographs as the list of the viewer "
            "does.",
        )
        form.addParam(
            "top",
            params.IntParam,
            default=48,
            expertLevel=params.LEVEL_ADVANCED,
            label="Regions on the contact sheet",
            help="The number of regions on the contact sheet, the best first. Default: 48.",
        )

    # ---- steps ----------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        # Continue repeats a step whose arguments have changed, so the time makes it search again.
        self._insertFunctionStep(self.searchStep, time.time(), needsGPU=False)

    def searchStep(self, started: float) -> None:
        """Search the maps, write the files, and create the outputs."""
        with self._oneLine():
            maps, labels = StoredMaps.read(self._screenedFolder()), self._readLabels()
            self.getFolder().mkdir(parents=True, exist_ok=True)
            if labels is not None:
                labels.save(self.getFolder() / LABELS)
            found = search_regions(maps, labels, progress=_logged)
            write_found(self.getFolder(), maps, found, self.top.get())
            self._createOutputs(maps, [one for one in found if one.confidence >= SURE])

    def _createOutputs(self, maps: StoredMaps, found: Sequence[FoundRegion]) -> None:
        pointer = self.inputScreening.get().getInputMicrographsPointer()
        names = {row.id: row.name for row in convert.read_micrographs(pointer.get())}
        sets = {
            OUTPUT_REGIONS: self._fill("Regions", names, map(_region_item, found), _region_item(None)),
            OUTPUT_BAD: self._fill("Bad", names, _bad_items(maps, self.getFolder() / BAD_SET), _bad_item(0, 0, "")),
        }
        self._defineOutputs(**sets)
        for output in sets.values():
            self._defineSourceRelation(pointer, output)

    def _fill(
        self, suffix: str, names: Dict[int, str], items: Iterable[Coordinate], template: Coordinate
    ) -> SetOfCoordinates:
        """Return a new set with items that have the id of their micrograph."""
        screening = self.inputScreening.get()
        pointer, picked = screening.getInputMicrographsPointer(), screening.inputCoordinates.get()
        output = self._createSetOfCoordinates(pointer, suffix)
        size = convert.box_size_of(picked) * screening.getBoxScale() if picked else 0
        output.setBoxSize(int(round(size or SPACING / pointer.get().getSamplingRate())))
        for item in items:
            item.setMicName(names[item.getMicId()])
            output.append(item)
        give_columns(output, template)
        return output

    def _readLabels(self) -> Optional[LabelFile]:
        """Return the labelled boxes of the form; None if all classes are searched."""
        if self.search.get() == ALL:
            return None
        return read_labels(self._labelsPath())

    def _labelsPath(self) -> Path:
        return self._screenedFolder() / LABELS if self.search.get() == MARKED else Path(self.labelsFile.get() or "")

    def getFolder(self) -> Path:
        """Return the folder of regions.csv, regions.json (COCO), bad.star, the contact sheet and the labels."""
        return Path(self._getExtraPath("regions"))

    # ---- information ----------------------------------------------------------------------------------------

    def _validate(self) -> List[str]:
        errors = ["'Regions on the contact sheet' must be 1 or more."] if self.top.get() < 1 else []
        if self.inputScreening.get() is None:
            return errors  # pyworkflow reports missing inputs itself
        errors += self._missingMaps()
        if self.search.get() != ALL and not self._labelsPath().is_file():
            errors.append(
                "No place is marked in the screening. Press Analyze results of the screening, mark places with B and "
                "G, and open this form again."
                if self.search.get() == MARKED
                else "Label file: there is no such file. Choose a file labels.json."
            )
        return errors or self._validateLabels()

    def _validateLabels(self) -> List[str]:
        try:
            labels = self._readLabels()
        except CryoIceError as error:
            return [str(error)]
        if labels is not None and all(box.good for _, box in labels.boxes()):
            return ["No place is marked as bad. Mark at least one place like those to find."]
        return []

    def _warnings(self) -> List[str]:
        return self._runningWarning("Only the micrographs with a map will be searched.")

    def _summary(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_BAD):
            return ["Not searched yet."]
        counts = Counter(item._cryoiceClass.get() for item in self.outputRegions.iterItems())
        self.outputRegions.close()
        words = ", ".join(f"{name} {number}" for name, number in counts.most_common()) or "none"
        return [
            f"Regions with a confidence of {SURE} or more: {words}",
            f"BAD coordinates in them: {self.outputCoordinatesBad.getSize()}",
            f"Contact sheet and tables: {self.getFolder()}",
        ]

    def _methods(self) -> List[str]:
        if not self.hasAttribute(OUTPUT_BAD):
            return []
        like = "" if self.search.get() == ALL else " similar to marked places"
        number = self.outputRegions.getSize()
        were = plural(number, "was", "were")
        return [
            f"{counted(number, 'region')} of bad area{like} {were} found on the maps of an earlier screening "
            "with cryoice [SanchezGarcia2020]."
        ]

    def _citations(self) -> List[str]:
        return ["SanchezGarcia2020"]


def _region_item(one: Optional[FoundRegion]) -> Coordinate:
    """Return the centre of a region with its attributes; None: an example."""
    x, y, width, height = one.box if one else (0, 0, 0, 0)
    item = Coordinate(x=int(round(x + width / 2)), y=int(round(y + height / 2)))
    item.setMicId(one.micrograph if one else 0)
    item._cryoiceClass = String(one.cls if one else "")
    item._cryoiceConfidence = Float(one.confidence if one else 0)
    item._cryoiceExpectedIou = Float(one.expected_iou if one else 0)
    item._cryoiceWidth, item._cryoiceHeight = Integer(int(round(width))), Integer(int(round(height)))
    return item


def _bad_items(maps: StoredMaps, path: Path) -> Iterator[Coordinate]:
    """Yield the BAD coordinates of a file that the search has written."""
    keys = {task.path: key for key, task in maps.tasks.items()}
    (block,) = read_star(path)
    for row in block.table.itertuples():
        x, y = (int(round(float(value))) for value in (row.rlnCoordinateX, row.rlnCoordinateY))
        item = _bad_item(x, y, row.cryoiceClass)
        item.setMicId(keys[row.rlnMicrographName])
        yield item


def _bad_item(x: int, y: int, label: str) -> Coordinate:
    item = Coordinate(x=x, y=y)
    setattr(item, convert.LABEL, String(label))
    return item


def _logged(keys: Iterable[int], number: int) -> Iterator[int]:
    """Log how many micrographs are searched."""
    for done, key in enumerate(keys, 1):
        logger.info("Searching micrograph %d of %d", done, number)
        yield key
