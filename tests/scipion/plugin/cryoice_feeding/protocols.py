# SPDX-License-Identifier: GPL-3.0-or-later
"""The feeder, the watcher, and a stand-in for the extraction of particles."""

import json
import os
import time
from pathlib import Path

from pwem.objects import Coordinate, Micrograph, Particle, SetOfCoordinates, SetOfMicrographs
from pwem.protocols import EMProtocol, ProtExtractParticles
from pyworkflow.object import Float, Pointer, Set
from pyworkflow.protocol import params

POLL = 0.2  # s
WATCHED = ("outputCoordinates", "outputCoordinatesRejected", "outputMicrographs", "outputMicrographsDiscarded")


class Streaming(EMProtocol):
    """Base: what Scipion takes for a protocol that works in streaming."""

    _label = None

    def _stepsCheck(self):
        pass

    def _insertAllSteps(self):
        self._insertFunctionStep(self.workStep, needsGPU=False)


class CryoIceTestFeeder(Streaming):
    """Streams micrographs and coordinates by a plan: a JSON list of events, each done when its turn comes.

    {"micrograph": PATH, "id": N}; {"coordinates": [[id, x, y] ...], "micrograph": N}; {"wait": PATH}: until that file
    is there; {"pause": S}; {"flush": true}: what came so far becomes visible; {"fail": TEXT}. Ids are optional.
    """

    _label = "feeder"
    _possibleOutputs = {"outputMicrographs": SetOfMicrographs, "outputCoordinates": SetOfCoordinates}

    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam("plan", params.PathParam, label="Plan")
        form.addParam("pixelSize", params.FloatParam, default=4.0, label="Pixel size")
        form.addParam("boxSize", params.IntParam, default=30, label="Box size")

    def workStep(self):
        micrographs, coordinates = self._createSetOfMicrographs(), None
        micrographs.setSamplingRate(self.pixelSize.get())
        coordinates = self._createSetOfCoordinates(Pointer(self, extended="outputMicrographs"))
        coordinates.setBoxSize(self.boxSize.get())
        self._sets = {"outputMicrographs": micrographs, "outputCoordinates": coordinates}
        self._changed = {"outputMicrographs", "outputCoordinates"}  # both are there from the start, open and empty
        self._flush(Set.STREAM_OPEN)
        for event in json.loads(Path(self.plan.get()).read_text()):
            self._do(event)
        self._changed = set(self._sets)
        self._flush(Set.STREAM_CLOSED)

    def _do(self, event):
        if "coordinates" in event:
            for key, x, y in event["coordinates"]:
                self._append("outputCoordinates", self._coordinate(event["micrograph"], x, y), key)
        elif "micrograph" in event:
            item = Micrograph(location=event["micrograph"])
            item.setMicName(os.path.basename(event["micrograph"]))
            item.setSamplingRate(self.pixelSize.get())
            self._append("outputMicrographs", item, event.get("id"))
        elif "wait" in event:
            self._flush(Set.STREAM_OPEN)
            while not os.path.exists(event["wait"]):
                time.sleep(POLL / 2)
                if not os.path.exists(self.plan.get()):
                    raise RuntimeError("the test is over")
        elif "pause" in event:
            self._flush(Set.STREAM_OPEN)
            time.sleep(event["pause"])
        elif "flush" in event:
            self._flush(Set.STREAM_OPEN)
        else:
            self._flush(Set.STREAM_OPEN)
            raise RuntimeError(event["fail"])

    def _coordinate(self, micrograph, x, y):
        item = Coordinate(x=x, y=y)
        item.setMicId(micrograph)
        item.setMicName(f"micrograph {micrograph}")
        item._score = Float(0.5)  # as pickers add; it must arrive on the other side
        return item

    def _append(self, name, item, key):
        item.setObjId(key)
        output = self._sets[name]
        if output._mapper is None:
            output.enableAppend()
        output.append(item)
        self._changed.add(name)

    def _flush(self, state):
        for name in sorted(self._changed, reverse=True):  # micrographs first
            self._updateOutputSet(name, self._sets[name], state)
            self._sets[name] = getattr(self, name)
        self._changed.clear()


class CryoIceTestWatcher(Streaming):
    """Reads the outputs of a screening while they grow, as a protocol that goes on with them would.

    Each look at each set is a line of a JSON file: time, output, whether it is closed, ids that are new, ids that are
    gone, and what is wrong. Ends when all are closed.
    """

    _label = "watcher"

    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam("inputScreening", params.PointerParam, pointerClass="CryoIceProtScreen", label="Screening")
        form.addParam("record", params.StringParam, label="Record")

    def workStep(self):
        folder = self.inputScreening.get().getPath()
        names = dict(zip(WATCHED, ("coordinates", "coordinatesRejected", "micrographs", "micrographsDiscarded")))
        seen, closed = {name: set() for name in names}, set()
        with open(self.record.get(), "a") as record:
            while len(closed) < len(names):
                for name, file in names.items():
                    path = os.path.join(folder, f"{file}.sqlite")
                    if os.path.exists(path) and self._is_ours(name):
                        self._look(name, path, seen, closed, record)
                time.sleep(POLL)

    def _is_ours(self, name):
        """Whether the screening has registered the output: until then nobody knows of it."""
        from pyworkflow.protocol import getProtocolFromDb

        if not hasattr(self, "_known"):
            self._known = set()
        if name not in self._known:
            screening = self.inputScreening.get()
            fresh = getProtocolFromDb(self.getProject().getPath(), screening.getDbPath(), screening.getObjId())
            self._known |= {one for one in WATCHED if fresh.hasAttribute(one)}
        return name in self._known

    def _look(self, name, path, seen, closed, record):
        kind = SetOfCoordinates if "Coordinates" in name else SetOfMicrographs
        output = kind(filename=path)
        output.loadAllProperties()
        is_closed = output.isStreamClosed()
        found, wrong = set(), []
        for item in output.iterItems():
            found.add(item.getObjId())
            if kind is SetOfCoordinates and item._cryoiceGoodness.get() is None and "Rejected" not in name:
                wrong.append(f"{item.getObjId()} is kept and has no goodness")
            if kind is SetOfMicrographs and not item._cryoiceStatus.get():
                wrong.append(f"{item.getObjId()} has no status")
        if output.getSize() > len(found):
            wrong.append(f"says {output.getSize()} items, has {len(found)}")
        output.close()
        line = {"time": time.time(), "output": name, "closed": is_closed, "new": sorted(found - seen[name])}
        line.update(gone=sorted(seen[name] - found), wrong=wrong)
        if line["new"] or line["gone"] or wrong or (is_closed and name not in closed):
            record.write(json.dumps(line) + "\n")
            record.flush()
        seen[name] = found
        if is_closed:
            closed.add(name)
        else:
            closed.discard(name)


class CryoIceTestExtractor(ProtExtractParticles):
    """Reads coordinates in streaming by pwem's own code, as RELION's and Xmipp's extraction do; writes no images."""

    _label = "extractor"

    def _definePreprocessParams(self, form):
        form.addParam("boxSize", params.IntParam, label="Box size")
        for name in ("doRescale", "doInvert", "doNormalize"):
            form.addParam(name, params.BooleanParam, default=False, label=name)
        for name in ("backDiameter", "stddevWhiteDust", "stddevBlackDust"):
            form.addParam(name, params.FloatParam, default=-1, label=name)
        self._defineStreamingParams(form)
        form.addParallelSection(threads=0, mpi=1)

    def readPartsFromMics(self, micDoneList, outputParts):
        for micrograph in micDoneList:
            for coordinate in self.coordDict.pop(micrograph.getObjId()):
                item = Particle(location=(coordinate.getObjId(), "none.mrcs"))
                item.copyObjId(coordinate)
                item.setCoordinate(coordinate)
                item.setSamplingRate(self._getNewSampling())
                outputParts.append(item)

    def getCoords(self):
        return self.inputCoordinates.get()

    def getInputMicrographs(self):
        return self.getCoords().getMicrographs()

    def _getNewSampling(self):
        return self.getInputMicrographs().getSamplingRate()
