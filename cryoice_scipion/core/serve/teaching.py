# SPDX-License-Identifier: GPL-3.0-or-later
"""Fine-tune the model to the labels of a run, compare it with the old one, save it, and screen the run again."""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from cryoice_scipion.constants import BAD, FAILED
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.model_folder import MODEL_JSON
from cryoice_scipion.core.errors import CryoIceError, SettingsError
from cryoice_scipion.core.formats.micrograph_lists import write_micrographs
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.regions.labels import LabelFile, LabelledBox
from cryoice_scipion.core.results.review_files import LABELS, read_labels
from cryoice_scipion.core.results.run_folder import JOURNAL, KEPT, REGIONS, REJECTED, RunFolder
from cryoice_scipion.core.results.run_reader import read_records, read_summary
from cryoice_scipion.core.serve.commands import Command, in_background
from cryoice_scipion.core.serve.labels import Labels
from cryoice_scipion.core.serve.measures import kept_if_done, read_measures, write_measures
from cryoice_scipion.core.serve.run_view import RunView
from cryoice_scipion.core.serve.screener import Screener

FOLDER, MODELS = "teach", "models"  # in the folder of the run
FOUND = "found"  # in the folder of the teaching
COMPARED = 4  # micrographs without labels, and as many with labels
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
_PARTS = {"patches": (0.0, 0.6), "baseline": (0.6, 0.75)}  # share of the job at the start and end of a progress bar
_TRAINED = 0.75
_SHOWN = 40  # found regions
_PAUSE = 0.5  # s between looks at a screening


@dataclasses.dataclass
class JobState:
    """What the page shows of the job."""

    what: str = ""  # "training" or "screening"
    running: bool = False
    progress: float = 0.0  # 0 to 1
    stage: str = ""  # one or two words
    error: str = ""  # one sentence
    stopping: bool = False


class Teaching:
    """The trainings of one run. One job at a time, and none while a micrograph is tried."""

    def __init__(self, view: RunView, labels: Labels, screener: Screener, model: str, device: str) -> None:
        """Take the run, its labels, the worker that shares the device, and the model to start from."""
        self._view, self.labels, self._screener = view, labels, screener
        self._base, self._device = model, device
        self.folder = view.folder / FOLDER
        self.job, self._command = JobState(), Command([])
        self._lock = threading.Lock()
        self._after: Optional[RunView] = None

    def state(self) -> Dict[str, Any]:
        """Return what the page shows beside the labels."""
        model = self.folder / "model"
        trained = not (self.job.running and self.job.what == "training") and (model / MODEL_JSON).is_file()
        compared = read_records(self.folder / "compared") if trained else []
        marked = read_labels(self.folder) if compared else {}
        saved = sorted(path.parent.name for path in (self._view.folder / MODELS).glob(f"*/{MODEL_JSON}"))
        return {
            "job": dataclasses.asdict(self.job),
            "counts": self.labels.counts(),
            "missing": self.labels.missing(),
            "trained": trained,
            "measures": read_measures(model) if trained else {},
            "compared": [
                {"id": one.id, "name": Path(one.path).name, "marked": one.path in marked}
                for one in compared
                if one.status != FAILED
            ],
            "found": self.found(),
            "models": [{"name": name, "screened": self._finished(name)} for name in saved],
        }

    def train(self) -> None:
        """Start the training, and the screening of some micrographs with its model.

        Raises
        ------
        SettingsError
            When labels are missing, or a job is running.
        """
        missing = self.labels.missing()
        if missing:
            raise SettingsError("Training", missing[0][:1].lower() + missing[0][1:].rstrip("."))
        self._start("training", self._train)

    def find_more(self) -> None:
        """Start to search the run for more places like the marked ones.

        Raises
        ------
        SettingsError
            When no bad place is marked, or a job is running.
        """
        if not self.labels.counts()[BAD]:
            raise SettingsError("Search", "no bad place is marked", "mark one")
        self._start("search", self._search)

    def _search(self) -> None:
        output = self.folder / FOUND
        shutil.rmtree(output, ignore_errors=True)
        self.job.stage = "searching"
        words = ["regions", str(self._view.folder), "--labels", str(self.labels.path), "--output", str(output)]
        try:
            self._run(words)
        except CryoIceError:
            if not (output / REGIONS).is_file():  # it is there, and empty, if nothing was found
                raise

    def found(self) -> List[Dict[str, Any]]:
        """Return the best regions of the last search that are not marked yet."""
        path = self.folder / FOUND / REGIONS
        if self.job.running or not path.is_file():
            return []
        ids = {one.stem: one.id for one in self._view.records().micrographs}
        marked = self.labels.read()
        found: List[Dict[str, Any]] = []
        with open(path, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                stem, box = row["micrograph"], [float(row[name]) for name in ("x", "y", "width", "height")]
                if stem in ids and not any(_touches(one, box) for one in marked.get(stem, [])):
                    about = {"class": row["class"], "confidence": float(row["confidence"]), "box": box}
                    found.append({"id": ids[stem], "name": stem, **about})
                if len(found) == _SHOWN:
                    break
        return found

    def screen_again(self, name: str) -> None:
        """Start to screen the whole run with a saved model."""
        model = self._view.folder / MODELS / _checked(name)
        if not (model / MODEL_JSON).is_file():
            raise SettingsError(name, "is no saved model", "save the model first")
        self._start(
            "screening", lambda: self._screen(self._view.records().micrographs, model, self._screened(name), 0.0)
        )

    def save(self, name: str) -> Path:
        """Save the trained model under a name in the folder of the run, and return its folder.

        Raises
        ------
        SettingsError
            When the name is not valid or in use, or there is no trained model.
        """
        target, source = self._view.folder / MODELS / _checked(name), self.folder / "model"
        if target.exists():
            raise SettingsError(name, "exists already", "choose another name")
        if self.job.running or not (source / MODEL_JSON).is_file():
            raise SettingsError("Model", "is not trained yet", "train it first")
        copy = self.folder / "copy"  # so that a model in the folder of models is complete
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        target.parent.mkdir(exist_ok=True)
        copy.rename(target)
        return target

    def compared(self, key: int) -> Dict[str, Any]:
        """Return a micrograph as the old and as the new model see it."""
        if self._after is None:
            self._after = RunView(self.folder / "compared", self.folder)
        name = Path(self._after.record(key).path)
        before = next((one.id for one in self._view.records().micrographs if Path(one.path) == name), None)
        if before is None:
            raise CryoIceError(name, "is no longer in the run", "train again")
        return {"before": self._view.shown(before, None, None), "after": self._after.shown(key, None, None)}

    def stop(self) -> None:
        """End the job."""
        self.job.stopping = True  # also before the command begins, and between two commands
        self._command.stop()

    def _start(self, what: str, work: Callable[[], None]) -> None:
        with self._lock:
            if self.job.running:
                raise SettingsError("Job", f"the {self.job.what} is still running", "wait until it ends, or stop it")
            self.job = JobState(what, running=True, stage="starting")
        job, files = self.job, RunFolder(self.folder)

        def run() -> None:
            try:
                self.folder.mkdir(exist_ok=True)
                files.lock()  # another server may teach on this run
                with self._screener.reserved(f"the {what}"):
                    work()
                job.progress = 1.0
            except (CryoIceError, OSError) as error:
                job.error = f"The {what} was stopped." if job.stopping else str(error)
            finally:
                files.unlock()
                job.running = False

        in_background(run)

    def _train(self) -> None:
        self._after = None
        for name in ("model", "compared"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        records = [one for one in self._view.records().micrographs if one.status != FAILED]
        marked, boxes = self.labels.read(), self.folder / LABELS
        ours = [one for one in records if one.stem in marked]
        LabelFile(micrographs={one.path: marked[one.stem] for one in ours}).save(boxes)  # there, stems may be others
        config, reference = self._view.maps().config, self._view.maps().reference
        words = ["train", "--from", self._base, "--output", str(self.folder / "model"), "--device", self._device]
        words += ["--boxes", str(boxes), "--contrast", reference.contrast, "--micrographs", *[one.path for one in ours]]
        words += ["--pixel-size", str(config.pixel_size)] if config.pixel_size else []
        with kept_if_done(self.folder / "model"):
            self._run(words, self._on_bar)
            write_measures(self.folder / "model", self._command.lines)
        ours.sort(key=lambda one: -sum(not box.good for box in marked[one.stem]))
        others = sorted((one for one in records if one.stem not in marked), key=lambda one: -(one.bad_area or 0.0))
        chosen = [*others[:: max(1, len(others) // COMPARED)][:COMPARED], *ours[:COMPARED]]
        self._screen(chosen, self.folder / "model", self.folder / "compared", _TRAINED)

    def _on_bar(self, name: str, share: float) -> None:
        low, high = _PARTS.get(name, (self.job.progress, self.job.progress))
        self.job.stage, self.job.progress = name, low + (high - low) * share

    def _screen(self, records: List[MicrographRecord], model: Path, output: Path, start: float) -> None:
        """Screen micrographs of the run with another model and the run's settings."""
        config = self._view.maps().config
        listed = self.folder / "micrographs.star"
        write_micrographs(listed, {one.path: one.pixel_size for one in records})
        words = ["screen", str(listed), "--model", str(model), "--output", str(output), "--device", self._device]
        words += _settings(config)
        words += ["--contrast", self._view.maps().reference.contrast]
        if output.name != "compared":
            words += [
                word for name in (KEPT, REJECTED) if (self._view.folder / name).is_file()
                for word in ("--coordinates", str(self._view.folder / name))
            ]  # fmt: skip
        words += ["--resume"] if (output / JOURNAL).is_file() else []
        ended = threading.Event()
        in_background(lambda: self._follow(output, len(records), start, ended))
        try:
            self._run(words)
        finally:
            ended.set()

    def _follow(self, output: Path, number: int, start: float, ended: threading.Event) -> None:
        """Set the progress from the journal of a screening until it ends."""
        job = self.job
        while not ended.is_set():
            done = len(read_records(output)) if (output / JOURNAL).is_file() else 0
            job.stage, job.progress = "screening", start + (1 - start) * min(1.0, done / max(1, number))
            time.sleep(_PAUSE)

    def _run(self, words: List[str], on_bar: Callable[[str, float], None] = lambda name, share: None) -> None:
        self._command = Command(words, on_bar)
        if self.job.stopping:
            raise CryoIceError("The job", "was stopped")
        self._command.run(self.folder / "log.txt")

    def _screened(self, name: str) -> Path:
        return self._view.folder / f"screened_{name}"

    def _finished(self, name: str) -> str:
        """Return the folder of the finished screening with a saved model; empty if there is none."""
        folder = self._screened(name)
        summary = read_summary(folder)
        return str(folder) if summary and summary.finished else ""


def _settings(config: ScreenConfig) -> List[str]:
    """Return the options that give a screening the settings of a run, except threshold and grader."""
    numbers = {
        "--pixel-size": config.pixel_size, "--particle-diameter": config.particle_diameter,
        "--coordinates-pixel-size": config.coordinates_pixel_size, "--box-size": config.box_size,
        "--margin": config.margin, "--min-area": config.min_area,
    }  # fmt: skip
    words = [word for option, value in numbers.items() if value for word in (option, str(value))]
    words += [word for name, margin in config.margins.items() for word in ("--margin", f"{name}={margin}")]
    words += [word for name in config.ignore for word in ("--ignore", name)]
    words += [word for name in config.reject_grades for word in ("--reject-grade", name)]
    words += ["--max-bad-area", str(config.max_bad_area)]
    return [*words, *(["--flip-y"] if config.flip_y else [])]


def _touches(label: LabelledBox, box: Sequence[float]) -> bool:
    """Return whether a marked place overlaps a box (x, y, width, height)."""
    across = label.x < box[0] + box[2] and box[0] < label.x + label.width
    return across and label.y < box[1] + box[3] and box[1] < label.y + label.height


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError("Name", f"'{name[:60]}' is not valid", "use letters, digits, - and _")
    return name
