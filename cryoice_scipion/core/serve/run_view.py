# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a run for the page, also while it grows: its micrographs, their areas and coordinates at any threshold."""

from __future__ import annotations

import dataclasses
import threading
import zlib
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cryoice_scipion.constants import FAILED, GOOD
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.errors import CryoIceError, ImageError
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.identity import content_of
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.thumbnails import grey_base, read_base, write_base
from cryoice_scipion.core.maps import bad_area
from cryoice_scipion.core.maps.scoring import is_kept, pick_threshold
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, Pick
from cryoice_scipion.core.results.picture_layers import paint, read_layers
from cryoice_scipion.core.results.review_files import Stamp, stamp_of
from cryoice_scipion.core.results.run_folder import KEPT, REJECTED, RunFolder
from cryoice_scipion.core.results.run_reader import Records, RunReader, read_summary
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.results.threshold_preview import ThresholdPreview
from cryoice_scipion.core.serve.outlines import mask_paths, outlines_of
from cryoice_scipion.core.serve.pictures import finer_picture, jpeg, probability_picture
from cryoice_scipion.core.serve.safety import inside

_SMALL = 240  # px
_CLASS = "cryoiceClass"
_SIZES = 3  # digits of shares that the page gets


@dataclasses.dataclass
class Given:
    """The coordinates of a run."""

    table: Optional[PickTable]  # None: the run has none
    rows: Dict[int, List[int]]  # of the table, by micrograph
    picks: Dict[int, List[Pick]]  # by micrograph
    failed: NDArray[np.bool_]  # (rows of the table,): could not be scored; no threshold keeps them

    def kept(self, key: int, goodness: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
        """Return which coordinates of a micrograph a threshold keeps."""
        failed, kept = self.failed[self.rows.get(key, [])], is_kept(goodness, threshold)
        return kept & ~failed if len(failed) == len(kept) else kept  # else the goodness is that of an earlier state


_NOTHING = Given(None, {}, {}, np.zeros(0, dtype=bool))


class RunView:
    """One run folder. Only the files of the review are written into it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Take the run's folder, and one for small pictures."""
        self.folder, self._cache = Path(folder), cache
        self._reader, self._lock = RunReader(folder), threading.RLock()
        self._records: Optional[Records] = None
        self._maps: Tuple[Tuple[Stamp, ...], Optional[StoredMaps]] = ((), None)
        self._given: Tuple[Tuple[Stamp, ...], Given] = ((), _NOTHING)
        self.version = 0  # grows with each change of the run

    def records(self) -> Records:
        """Return the run as it is now.

        Raises
        ------
        CryoIceError
            When the journal is damaged, or there is none.
        """
        with self._lock:
            news = self._reader.look()
            if news is not None:
                self._records, self.version = news, self.version + 1
            if self._records is None:
                raise CryoIceError(self.folder, "holds no screening", "give the output folder of 'cryoice screen'")
            return self._records

    def record(self, key: int) -> MicrographRecord:
        """Return the record of a micrograph, without its scores.

        Raises
        ------
        CryoIceError
            When the run has no such micrograph.
        """
        return self.records_of([key])[0]

    def records_of(self, keys: Sequence[int]) -> List[MicrographRecord]:
        """Return the records of several micrographs, as :meth:`record` does."""
        known = {one.id: one for one in self.records().micrographs}
        missing = next((key for key in keys if key not in known), None)
        if missing is not None:
            raise CryoIceError(f"micrograph {missing}", "is not in this run", "load the page again")
        return [known[key] for key in keys]

    def maps(self) -> StoredMaps:
        """Return the stored maps; when the journal has grown, what is new in it is read.

        Raises
        ------
        CryoIceError
            When no micrograph is screened yet.
        """
        with self._lock:
            now = (stamp_of(self._reader.path),)
            if self._maps[1] is None or self._maps[0] != now:
                self._maps = now, StoredMaps.read(self.folder, self._maps[1])
            assert self._maps[1] is not None
            return self._maps[1]

    def given(self) -> Given:
        """Return the coordinates, from the files that the run has written so far.

        They are not read again when only the journal has grown: a run writes them at most once a minute.
        """
        with self._lock:
            paths = [self.folder / name for name in (KEPT, REJECTED)]
            now = tuple(map(stamp_of, paths))
            if self._given[0] != now:
                there = [path for path in paths if path.is_file()]
                self._given = now, self._read_given(there) if there else _NOTHING
            return self._given[1]

    def _read_given(self, paths: List[Path]) -> Given:
        table = read_picks(paths)
        tasks = [MicrographTask(one.id, one.path, one.stem) for one in self.records().micrographs]
        rows = assign_picks(table, tasks).rows
        classes = table.table.get(_CLASS)
        failed = np.zeros(len(table), dtype=bool) if classes is None else (classes == FAILED).to_numpy(dtype=bool)
        return Given(table, rows, {task.id: task.picks for task in tasks}, failed)

    def rows(self) -> List[Dict[str, Any]]:
        """Return what the gallery needs of each micrograph."""
        records = self.records()
        picks = records.picks
        return [
            {
                "id": one.id,
                "name": Path(one.path).name,
                "stem": one.stem,
                "status": one.status,
                "bad_area": _rounded(one.bad_area),
                "outlier": _rounded(one.outlier),
                "grade": one.grade,
                "time": one.screened_at,
                "picks": int(number),
                "picture": _version_of(one),
            }
            for one, number in zip(records.micrographs, picks)
        ]

    def state(self) -> Dict[str, Any]:
        """Return what is known of the run as a whole."""
        summary = read_summary(self.folder)
        try:
            maps = self.maps()
        except CryoIceError:
            return {"finished": False, "backlog": summary.backlog if summary else 0, "threshold": None, "margin": 0.0}
        return {
            "finished": bool(summary and summary.finished),
            "backlog": summary.backlog if summary else 0,
            "threshold": pick_threshold(maps.config.threshold, maps.model),
            "margin": maps.config.margin,
            "warnings": summary.warnings if summary else [],
        }

    def threshold(self, given: Optional[float]) -> Optional[float]:
        """Return a threshold, or that of the run for None; None: those that the model recommends."""
        return self.maps().config.threshold if given is None else given

    def preview(self, key: int, margin: Optional[float]) -> ThresholdPreview:
        """Return a micrograph for any threshold.

        Parameters
        ----------
        margin : float, optional
            Å. None: that of the run, by class.
        """
        maps = self.maps()
        if key not in maps.tasks:
            raise CryoIceError(
                self.record(key).path, "has no map", "continue the run with --resume, which screens it again"
            )
        task = dataclasses.replace(maps.tasks[key], picks=self.given().picks.get(key, []))
        config = with_margin(maps.config, margin)
        return ThresholdPreview(self.folder, task, maps.mapped(key), config, maps.model, maps.reference)

    def shown(self, key: int, threshold: Optional[float], margin: Optional[float]) -> Dict[str, Any]:
        """Return what the page shows of a micrograph at a threshold and a margin; None: those of the run."""
        record = self.record(key)
        shape, pixel_size = record.shape or (1, 1), record.pixel_size or 1.0
        data = {
            "id": key, "name": Path(record.path).name, "stem": record.stem, "picture": _version_of(record),
            "width": shape[1], "height": shape[0], "pixel_size": pixel_size,
            "status": record.status, "why": record.reason, "grade": record.grade, "confidence": record.grade_confidence,
            "reason": record.grade_reason, "outlier": record.outlier,
            "diameter": (record.particle_diameter or 0.0) / pixel_size,
        }  # fmt: skip
        if record.status == FAILED:
            return {**data, "bad_area": None, "areas": {}, "mask": [], "regions": [], "picks": []}
        preview, threshold = self.preview(key, margin), self.threshold(threshold)
        found = preview.apply(threshold)
        limit = bad_area.mask_threshold(threshold, self.maps().model.recommended_threshold)
        frame = Frame(shape, pixel_size)
        areas = bad_area.areas(bad_area.class_of_cells(preview.cells, found.good))
        kept = self.given().kept(key, preview.goodness, pick_threshold(threshold, self.maps().model))
        return {
            **data,
            "bad_area": found.bad_area,
            "areas": {name: share for name, share in areas.items() if name != GOOD},
            "mask": mask_paths(preview.cells, found.good, frame),
            "regions": outlines_of(preview.cells, limit, frame),
            "picks": [[x, y, int(one)] for (x, y, _), one in zip(found.marks, kept)],
        }

    def picture(self, key: int, low_pass: Optional[int] = None) -> Path:
        """Return the path of the grey picture of a micrograph, which is made if the run has none.

        Parameters
        ----------
        low_pass : int, optional
            Å, of a finer picture. None: the stored one.
        """
        record = self.record(key)
        if low_pass is not None:
            target = self._cache / f"{key}_{_file_of(record)}"
            return finer_picture(record.path, record.pixel_size, low_pass, target)
        path = inside(self.folder, RunFolder(self.folder).base(record.stem))
        if path.is_file():
            return path
        own = self._cache / f"{key}_{_version_of(record)}_{_file_of(record)}.jpg"
        if not own.is_file():
            try:
                write_base(own, read_base(path))  # it may be in an archive
            except ImageError:
                loaded = load_micrograph(record.path, record.pixel_size)
                write_base(own, grey_base(loaded.image, loaded.border, loaded.pixel_size))
        return own

    def small_picture(self, key: int) -> bytes:
        """Return a small picture of a micrograph with its bad areas."""
        record = self.record(key)
        own = self._cache / f"{key}_{_version_of(record)}.small.jpg"
        if not own.is_file():
            layers = read_layers(self.folder, record)
            if layers.grey is None:
                return jpeg(Image.new("L", (_SMALL, _SMALL), 40))
            scale = _SMALL / max(layers.shape)
            size = max(1, round(layers.shape[1] * scale)), max(1, round(layers.shape[0] * scale))
            with replacing(own) as temporary:  # another thread may read it
                temporary.write_bytes(jpeg(paint(layers, size, False, True)))
        return own.read_bytes()

    def probability(self, key: int) -> bytes:
        """Return the map of P(BAD) of a micrograph as a picture."""
        return probability_picture(self.preview(key, None).cells.probability)


def with_margin(config: ScreenConfig, margin: Optional[float]) -> ScreenConfig:
    """Return the settings with one margin for all classes; None: unchanged."""
    return config if margin is None else config.model_copy(update={"margin": margin, "margins": {}})


def _version_of(record: MicrographRecord) -> str:
    """Return a text for names and addresses of pictures that changes when a micrograph is screened again."""
    return f"{zlib.crc32(repr(record).encode()):08x}"


def _file_of(record: MicrographRecord) -> str:
    """Return a text for names and addresses of pictures that changes when the file of a micrograph does."""
    return content_of(record.path).replace(" ", "_")


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, _SIZES)
