# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the Python interface: screen a micrograph in memory, or a session of files. ``core`` exports it.

    from cryoice_scipion import core as cryoice
    detector = cryoice.load("default")
    result = detector.screen(image, pixel_size=1.1, coordinates=xy, diameter=150.0)

It uses the same pipeline as the command line and Scipion's worker. Importing it does not import torch; ``load`` does.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from cryoice_scipion.constants import DEFAULT_MODEL, FAILED
from cryoice_scipion.core.config import ModelConfig, ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.model_folder import read_card, resolve_model
from cryoice_scipion.core.errors import ImageError, SettingsError
from cryoice_scipion.core.grades.grading import check_grades, grade_micrograph
from cryoice_scipion.core.images.loading import LoadedMicrograph, take_image
from cryoice_scipion.core.images.stems import output_stem, plain_path
from cryoice_scipion.core.maps.scoring import positions_of
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, Pick
from cryoice_scipion.core.results.balance import all_unmatched
from cryoice_scipion.core.results.micrograph_result import MicrographResult, score_micrograph
from cryoice_scipion.core.results.run_folder import JOURNAL, RunFolder
from cryoice_scipion.core.screening.options import RunOptions
from cryoice_scipion.core.screening.run import ScreeningRun
from cryoice_scipion.core.workers.local_executor import LocalExecutor

if TYPE_CHECKING:
    from cryoice_scipion.core.formats.coordinates import PickTable

__all__ = ["LoadedDetector", "ScreenedImage", "load", "screen_files"]

PathLike = Union[str, Path]
_LOG = logging.getLogger("cryoice")
Array = npt.NDArray[Any]


def load(model: PathLike = DEFAULT_MODEL, device: str = "auto") -> LoadedDetector:
    """Load a detector.

    Parameters
    ----------
    model : str or pathlib.Path
        "default", "spots", or a model folder.
    device : str
        "auto" (the first GPU, if there is one), "cpu", or "cuda:N".

    Raises
    ------
    ModelError
        When there is no such model, or it is damaged.
    SettingsError
        When the device is not there.
    """
    from cryoice_scipion.core.workers.devices import find_device

    folder = resolve_model(model)
    return LoadedDetector(folder, LocalExecutor.load(folder, find_device(device)))


class LoadedDetector:
    """A detector on its device, as returned by :func:`load`."""

    def __init__(self, folder: Path, executor: LocalExecutor) -> None:
        """Take a model folder and the executor that has it loaded."""
        self.folder, self.executor = folder, executor

    @property
    def model(self) -> ModelConfig:
        """Return the description of the model."""
        return self.executor.model

    def screen(
        self,
        image: Array,
        pixel_size: float,
        coordinates: Optional[npt.ArrayLike] = None,
        diameter: Optional[float] = None,
        name: str = "micrograph",
        **settings: Any,
    ) -> ScreenedImage:
        """Screen one micrograph.

        Parameters
        ----------
        image : numpy.ndarray, shape (rows, columns)
            Real numbers; row 0 is y = 0. Particles are dark unless ``contrast="bright"`` is given.
        pixel_size : float
            Å/px.
        coordinates : array_like, shape (n, 2), optional
            x and y of the particles' centres in px.
        diameter : float, optional
            Particle diameter in Å; needed with coordinates, unless ``box_size`` (px) is given.
        name : str
            Name of the micrograph; ``save`` names the files by it.
        **settings
            Other fields of :class:`~cryoice_scipion.core.config.ScreenConfig`: threshold, margin, margins, ignore,
            min_area, contrast, box_size, max_bad_area, reject_grades …

        Raises
        ------
        SettingsError
            When a setting is invalid, or a grade is rejected and the model gives none.
        ModelError
            When the grader cannot be used.
        ImageError, PixelSizeError
            When the image cannot be screened.
        CoordinatesError
            When the particle diameter is not known.
        """
        from cryoice_scipion.core.images.reading import check_pixel_size

        config = _config(self.folder, particle_diameter=diameter, **settings)
        check_grades(config, self.model)
        check_pixel_size(name, pixel_size)
        pixels = np.asarray(image)
        if pixels.ndim != 2 or pixels.dtype.kind not in "fiub":
            reason = f"is an array of shape {pixels.shape} and type {pixels.dtype}"
            raise ImageError(name, reason, "give real numbers of shape (rows, columns)")
        micrograph = take_image(pixels.astype(np.float32), float(pixel_size), name)
        task = MicrographTask(1, plain_path(name), output_stem(name), float(pixel_size), _picks(coordinates))
        classmap, mapped = self.executor.compute(micrograph, name, config, config.contrast)
        scored = score_micrograph(
            classmap,
            task,
            mapped,
            config,
            self.model,
            0.0,
            lambda cells: grade_micrograph(cells, mapped, config, self.model),
        )
        fields = {field.name: getattr(scored, field.name) for field in dataclasses.fields(MicrographResult)}
        return ScreenedImage(**fields, detector=self, micrograph=micrograph, task=task, config=config)


@dataclasses.dataclass
class ScreenedImage(MicrographResult):
    """The result of an image in memory; it can be saved."""

    detector: LoadedDetector = dataclasses.field(repr=False)
    micrograph: LoadedMicrograph = dataclasses.field(repr=False)
    task: MicrographTask = dataclasses.field(repr=False)
    config: ScreenConfig = dataclasses.field(repr=False)

    def save(self, folder: PathLike) -> Path:
        """Write the files that ``cryoice screen`` writes, and return the folder.

        Raises
        ------
        SettingsError
            When the folder holds a run already.
        FolderError
            When the folder cannot be written.
        """
        picks = _table([self.task]) if self.task.picks else None
        executor = _InMemory(self.detector.executor, self.micrograph)
        options = _options(self.detector, picks, resume=False)
        with ScreeningRun(Path(folder), self.config, [executor], options, _LOG) as run:
            list(run.process([self.task]))
        return Path(folder)


def screen_files(
    micrographs: Union[PathLike, Sequence[PathLike]],
    detector: Optional[LoadedDetector] = None,
    output: Optional[PathLike] = None,
    coordinates: Union[PathLike, Sequence[PathLike], None] = None,
    **settings: Any,
) -> Iterator[MicrographResult]:
    """Screen a session of files, as ``cryoice screen`` does, and yield a result for each micrograph.

    Parameters
    ----------
    micrographs : path or sequence of paths
        Files, folders, or a .star file that names them.
    detector : LoadedDetector, optional
        Default: the shipped one.
    output : path, optional
        Output folder. A run in the folder is continued; micrographs that are already screened are skipped and not
        yielded. None: nothing is kept.
    coordinates : path or sequence of paths, optional
        A coordinate file, or a folder of coordinate files; or several of them, each of its own format.
    **settings
        Fields of :class:`~cryoice_scipion.core.config.ScreenConfig`.

    Yields
    ------
    MicrographResult
        For a failed micrograph, the grids are empty, ``record.status`` is "failed", and ``record.reason`` is set.

    Raises
    ------
    CryoIceError
        When nothing can be screened.
    """
    from cryoice_scipion.core.formats.coordinates import read_picks
    from cryoice_scipion.core.formats.matching import assign_picks
    from cryoice_scipion.core.images.naming import expand_micrographs, exposure_lists, star_lists
    from cryoice_scipion.core.screening.inputs import count_input, keep_ids

    detector = detector or load()
    config = _config(detector.folder, **settings)
    named = [micrographs] if isinstance(micrographs, (str, Path)) else micrographs
    notes: List[str] = []
    tasks = expand_micrographs([str(path) for path in named], notes)
    picks = read_picks(coordinates) if coordinates is not None else None
    matches = assign_picks(picks, tasks) if picks is not None else None
    if picks is not None and matches is not None:
        notes += [*picks.notes, *picks.warnings, *matches.warnings]
    for line in notes:
        _LOG.warning(line)
    known = output is not None and (Path(output) / JOURNAL).is_file()
    if picks is not None and matches is not None and len(picks) and not any(matches.rows.values()) and not known:
        raise all_unmatched(len(picks))
    with tempfile.TemporaryDirectory(prefix="cryoice_") as nowhere:
        folder = Path(output) if output is not None else Path(nowhere) / "run"
        options = _options(detector, picks, known) if output is not None else RunOptions()
        options.micrograph_lists = star_lists([str(name) for name in named])
        if output is not None:
            options.exposures = exposure_lists([str(path) for path in named])
        with ScreeningRun(folder, config, [detector.executor], options, _LOG) as run:
            keep_ids(tasks, run)
            if picks is not None:
                given = count_input(tasks, picks, run)
                if len(picks) and not given.matched:
                    raise all_unmatched(len(picks))
                run.note_input(given)
            by_id = {task.id: task for task in tasks}
            for record in run.process(tasks):
                yield _read_result(run, by_id[record.id], record)


class _InMemory(LocalExecutor):
    """An executor for one micrograph that is in memory."""

    def __init__(self, executor: LocalExecutor, micrograph: LoadedMicrograph) -> None:
        super().__init__(executor.detector, executor.fingerprint, executor.device)
        self._micrograph = micrograph

    def read(self, task: MicrographTask, config: ScreenConfig) -> LoadedMicrograph:
        """Return the micrograph in memory."""
        return self._micrograph


def _config(folder: Path, **settings: Any) -> ScreenConfig:
    if "model" in settings:
        raise SettingsError("model", "is set by the detector", "give it to load() instead")
    return ScreenConfig.make(**{"model": str(folder), **settings})


def _picks(coordinates: Optional[npt.ArrayLike]) -> List[Pick]:
    """Return coordinates as picks; their ids are their rows."""
    if coordinates is None:
        return []
    at = np.asarray(coordinates, dtype=np.float64)
    if at.size and (at.ndim != 2 or at.shape[1] != 2):
        raise SettingsError("coordinates", f"have the shape {at.shape}", "give x and y in px, shape (n, 2)")
    return [Pick(row, float(x), float(y)) for row, (x, y) in enumerate(at.reshape(-1, 2))]


def _table(tasks: Sequence[MicrographTask]) -> PickTable:
    """Return the coordinates of micrographs as the table of a file."""
    import pandas as pd

    from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, X, Y

    rows = [(pick.x, pick.y, task.path) for task in tasks for pick in task.picks]
    return PickTable(pd.DataFrame(rows, columns=[X, Y, MICROGRAPH]), "coordinates")


def _options(detector: LoadedDetector, picks: Optional[PickTable], resume: bool) -> RunOptions:
    """Return the options of a run that writes all files of the command line."""
    from cryoice_scipion.core.reports.html import write_report

    card = read_card(detector.folder)
    return RunOptions(resume=resume, retry_failed=True, picks=picks, card=card, write_report=write_report)


def _read_result(run: ScreeningRun, task: MicrographTask, record: MicrographRecord) -> MicrographResult:
    """Return the result of a micrograph that a run has screened, from its stored map."""
    positions = positions_of(task.picks)
    if record.status == FAILED or run.reference is None:
        nothing = np.zeros((0, 0))
        return MicrographResult(
            nothing.astype(np.float32), nothing.astype(bool), nothing.astype(np.uint8), 0.0, positions, record, [], None
        )
    classmap = ClassMap.load(run.folder / RunFolder(run.folder).raw_map(record.stem))
    scored = score_micrograph(classmap, task, run.mapped(task.id), run.config, run.model, run.reference.logit_offset)
    return dataclasses.replace(scored, record=record)
