# SPDX-License-Identifier: GPL-3.0-or-later
"""Protocol that screens micrographs and cleans their coordinates."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

from pwem.objects import SetOfCoordinates, SetOfMicrographs
from pyworkflow.constants import QUEUE_FOR_JOBS
from pyworkflow.exceptions import PyworkflowException
from pyworkflow.protocol import ProtStreamingBase

from cryoice_scipion import convert
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import read_card, resolve_model
from cryoice_scipion.core.errors import SettingsError, counted
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import JOURNAL
from cryoice_scipion.core.results.run_reader import read_summary
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.streaming import file_retry
from cryoice_scipion.core.workers.client import WorkerClient, begin_checks, check_worker
from cryoice_scipion.core.workers.cluster import cluster_executors
from cryoice_scipion.core.workers.interface import Executor
from cryoice_scipion.core.workers.schedulers import check_scheduler
from cryoice_scipion.plugin import Plugin
from cryoice_scipion.protocols.fixed_input import FixedInput
from cryoice_scipion.protocols.protocol_base import CryoIceProtocol
from cryoice_scipion.protocols.screen_form import MODEL_DEFAULT, MODEL_OBJECT
from cryoice_scipion.protocols.screen_input import ScreenInput
from cryoice_scipion.protocols.screen_outputs import COORDINATES, DISCARDED, MICROGRAPHS, REJECTED, ScreenOutputs
from cryoice_scipion.protocols.screen_settings import ScreenSettings
from cryoice_scipion.protocols.screen_summary import summary_lines, without_micrograph
from cryoice_scipion.streams import CoordinateReader, MicrographReader

#: Where a run's files lie, below the protocol's folder.
FOLDER = ("extra", "screening")

#: Micrographs per worker between two checks for new input, if the form gives no batch size.
BATCH = 64
#: s between two updates of the outputs while a batch is being screened.
UPDATE = 10.0

logger = logging.getLogger(__name__)


class CryoIceProtScreen(ScreenSettings, FixedInput, CryoIceProtocol, ProtStreamingBase):
    """Finds ice, contamination and support film on micrographs, and removes the picks that lie on them.

    Run it between particle picking and extraction. A trained detector maps the bad area of each micrograph. Each
    coordinate gets a goodness from 0 (bad) to 1 (clean), measured over the disc of its particle. The outputs are the
    kept and the rejected coordinates, and the accepted and the discarded micrographs; every input item is in exactly
    one set. The protocol works in streaming: it screens micrographs and coordinates as they arrive.
    """

    _label = "screen micrographs"
    _possibleOutputs = {
        COORDINATES: SetOfCoordinates,
        REJECTED: SetOfCoordinates,
        MICROGRAPHS: SetOfMicrographs,
        DISCARDED: SetOfMicrographs,
    }
    _fixed = ("inputCoordinates", "micsSource", "inputMicrographs", "useOtherScale")

    # ---- steps ----------------------------------------------------------------------------------------------
    # One long step; the journal in the run folder records the progress. Scipion rewrites all steps whenever one is
    # added; a kill in between leaves none to resume.

    def stepsGeneratorStep(self) -> None:
        """Screen the input until it is closed; after a restart, continue where the journal ends."""
        with self._oneLine(), self._openRun(self._getConfig()) as run:
            self._recordInput()
            source, outputs = self._openInput(run.ids), self._openOutputs()
            self._waitForInput(source)
            outputs.reconcile(run.recorded)
            self._screenUntilClosed(run, source, outputs)
            self._finish(run, source, outputs)
            if run.failure:  # the outputs are written and closed; Continue retries the failed micrographs
                raise PyworkflowException(f"{run.failure}. Fix the cause, then press Continue to retry them.")

    def _waitForInput(self, source: ScreenInput) -> None:
        """Wait until all input has been read once: the outputs depend on which micrographs are paired."""
        while not source.seen:
            source.look()
            time.sleep(0 if source.seen else self._pause())

    def _screenUntilClosed(self, run: ScreeningRun, source: ScreenInput, outputs: ScreenOutputs) -> None:
        """Screen in batches until the input is closed and nothing waits."""
        while True:
            source.look()
            self._screenWaiting(run, source, outputs)
            if source.closed and not source.waiting and not run.backlog:
                return
            if not source.waiting:
                time.sleep(self._pause())

    def _screenWaiting(self, run: ScreeningRun, source: ScreenInput, outputs: ScreenOutputs) -> None:
        """Screen one batch of the waiting micrographs and append it to the outputs; skip those already done."""
        batch = source.take(self._batchSize(run.executors), run.is_done)
        run.note_input(source.counts())
        fresh: List[MicrographRecord] = []
        updated = time.monotonic()
        for record in run.process(batch, source.closed and not source.waiting, source.waiting):
            self._say(record)
            fresh.append(record)
            if time.monotonic() >= updated + UPDATE:
                outputs.append(fresh)
                fresh, updated = [], time.monotonic()
        outputs.append(fresh)

    def _finish(self, run: ScreeningRun, source: ScreenInput, outputs: ScreenOutputs) -> None:
        unmatched = source.unmatched()
        if unmatched:
            self.warning(without_micrograph(len(unmatched)))
        for label in source.incomplete:
            self.warning(
                f"{label} failed or was stopped, so input may be missing; press Continue in that protocol, then in "
                "this one"
            )
        outputs.remove_deleted(run.recorded, run.summary().picks)
        outputs.finish(unmatched)

    def _pause(self) -> float:
        return max(1, self._getStreamingSleepOnWait())

    def _batchSize(self, executors: int) -> int:
        given = self.streamingBatchSize.get()
        return given if given > 0 else BATCH * executors

    def _openRun(self, config: ScreenConfig) -> ScreeningRun:
        """Start the screening in the folder of this run, or continue the one that is there."""
        folder, workers = self._folder(), self._openWorkers(config)
        options = RunOptions(
            resume=(folder / JOURNAL).is_file(),
            retry_failed=True,
            retry_seconds=file_retry.RETRY_SECONDS,
            summary_every=self._batchSize(len(workers)),
            card=read_card(resolve_model(self._getModel())),
            write_report=self._writeReport,
        )
        try:
            return ScreeningRun(folder, config, workers, options, logger)
        except SettingsError as error:
            raise SettingsError(error.what, error.reason, "restore the old settings, or choose Restart") from None

    def _computesInJob(self) -> bool:
        """Return whether the whole protocol is a job; with a job for each step, only commands are, not the workers."""
        return self.useQueue() and self.getQueueParams()[1].get(QUEUE_FOR_JOBS) != "Y"

    def _openWorkers(self, config: ScreenConfig) -> Sequence[Executor]:
        """Return the workers: one for each device of this machine or, with a scheduler, of the cluster."""
        python, devices, limits = Plugin.getPython(), self.getDevices(), self._getLimits()
        if Plugin.getScheduler():
            device = "cuda:" + ",".join(name[len("cuda:") :] for name in devices) if self.useGpu.get() else "cpu"
            return cluster_executors(Plugin.getScheduler(), config, device, logger, python, limits.item_timeout)
        log = Path(self.getStderrLog())
        return [WorkerClient(python, self._getModel(), device, log, limits=limits) for device in devices]

    def _writeReport(self, *of_the_run: Any) -> None:
        """Write the report. Import it here, because its libraries would slow down the list of protocols."""
        from cryoice_scipion.core.reports.html import write_report

        project = self.getProject()
        write_report(*of_the_run, name=" / ".join([*([project.getShortName()] if project else []), self.getRunName()]))

    def _openInput(self, stems: Dict[str, int]) -> ScreenInput:
        self._micrographs = MicrographReader(self.getInputMicrographsPointer(), stems)
        self._pairs = self._makePairing(self._micrographs)
        return ScreenInput(
            self._micrographs,
            CoordinateReader(self.inputCoordinates),
            self.getInputMicrographs().getSamplingRate(),
            self.getBoxScale(),
            convert.box_size_of(self.inputCoordinates.get()) * self.getBoxScale(),
            self._pairs,
        )

    def _openOutputs(self) -> ScreenOutputs:
        make: Dict[str, Callable[[], Any]] = {
            COORDINATES: lambda: self._newCoordinates(""),
            REJECTED: lambda: self._newCoordinates("Rejected"),
            MICROGRAPHS: lambda: self._newMicrographs(""),
            DISCARDED: lambda: self._newMicrographs("Discarded"),
        }
        picked, seen = self.inputCoordinates, self.getInputMicrographsPointer()
        sources = {COORDINATES: picked, REJECTED: picked, MICROGRAPHS: seen, DISCARDED: seen}
        transform = convert.CoordinateTransform()
        if self._isScaled():
            transform = convert.CoordinateTransform(self.getBoxScale(), self._pairs.ids, self._micrographs.rows)
        return ScreenOutputs(self, str(self._folder()), sources, make, transform)

    def _newCoordinates(self, suffix: str) -> SetOfCoordinates:
        output = self._createSetOfCoordinates(self._outputMicrographsPointer(), suffix)
        box_size = convert.box_size_of(self.inputCoordinates.get()) * self._outputScale()
        output.setBoxSize(int(round(box_size)) or None)
        return output

    def _newMicrographs(self, suffix: str) -> SetOfMicrographs:
        output = self._createSetOfMicrographs(suffix)
        output.copyInfo(self.getInputMicrographs())
        return output

    def _say(self, record: MicrographRecord) -> None:
        words = f"{record.stem}: {record.status}, {record.kept} of {counted(len(record.scores), 'pick')} kept"
        self.info(f"{words} ({record.reason})" if record.reason else words)

    # ---- settings -------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        return Path(self._getPath(*FOLDER))

    def openPreview(self) -> Tuple[ScreenConfig, ScreenInput]:
        """Return settings and input for the preview of single micrographs before the run.

        Raises
        ------
        PyworkflowException
            If the form is incomplete or wrong; one line per problem.
        """
        if self.inputCoordinates.get() is None or self.getInputMicrographs() is None:
            raise PyworkflowException("Choose 'Coordinates' (and 'Input micrographs', if shown) first.")
        complaints = self._validateInput() + self._validateDevices() + self._validateSettings()
        if complaints:
            raise PyworkflowException("\n".join(complaints))
        return self._getConfig(), self._openInput({})

    def getPreviewDevice(self) -> str:
        """Return the first device of the form; "auto" if the GPUs of the form are those of another machine."""
        is_elsewhere = self._computesInJob() or Plugin.getScheduler()
        return "auto" if self.useGpu.get() and is_elsewhere else self.getDevices()[0]

    # ---- information ----------------------------------------------------------------------------------------

    def _validate(self) -> List[str]:
        if self.modelSource.get() == MODEL_OBJECT and self.inputModel.get() is None:
            return []  # pyworkflow reports missing inputs itself
        errors = self._validateContinued() + self._validateOptional("inputGrader") + self._validateInput()
        errors += self._validateDevices() + self._validateSettings()
        return errors or self._validateWorkers()

    def _validateDevices(self) -> List[str]:
        return [] if Plugin.getScheduler() else super()._validateDevices()  # other machines may have GPUs

    def _validateWorkers(self) -> List[str]:
        if Plugin.getScheduler():
            if self.memoryLimit.get() is not None:
                limit = self._labelOf("memory_limit")
                return [f"{limit} does not apply to a cluster. Leave it empty, and limit the Dask workers instead."]
            return check_scheduler(Plugin.getScheduler())
        devices = self._checkedDevices()
        return sum((check_worker(Plugin.getPython(), self._getModel(), device) for device in devices), [])

    def _checkedDevices(self) -> List[str]:
        return ["cpu"] if self._computesInJob() else self.getDevices()  # the job may run where other GPUs are

    def getInputStatus(self) -> Any:
        """Return the state of the inputs. Forms call this when they open, so begin here to check the workers."""
        if not Plugin.getScheduler() and not self._validateDevices():
            begin_checks(Plugin.getPython(), self._getModel(), self._checkedDevices())
        return super().getInputStatus()

    def _summary(self) -> List[str]:
        summary = read_summary(self._folder())
        return ["Not screened yet."] if summary is None else summary_lines(summary, self._thresholdInWords())

    def _methods(self) -> List[str]:
        summary = read_summary(self._folder())
        if summary is None or not all(self.hasAttribute(name) for name in self._possibleOutputs):
            return []
        kept, rejected = self.outputCoordinates.getSize(), self.outputCoordinatesRejected.getSize()
        screened, discarded = summary.accepted + summary.discarded, counted(summary.discarded, "was", "were")
        failed = f" {summary.failed} more could not be screened." if summary.failed else ""
        shipped = self.modelSource.get() == MODEL_DEFAULT
        model = "the default model of cryoice" if shipped else f"the model {self._getModel()}"
        threshold = self._thresholdInWords()
        return [
            f"{counted(screened, 'micrograph was', 'micrographs were')} screened for ice, contamination "
            f"and support film with {model}; {discarded} discarded.{failed} "
            f"Of {counted(kept + rejected, 'coordinate')}, {counted(kept, 'was', 'were')} kept ({threshold}). "
            "Cleaning coordinates with a map of bad area follows [SanchezGarcia2020]."
        ]

    def _citations(self) -> List[str]:
        return ["SanchezGarcia2020"]
