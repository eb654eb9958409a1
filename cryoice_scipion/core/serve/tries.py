# SPDX-License-Identifier: GPL-3.0-or-later
"""Screen an uploaded micrograph, and keep its pictures and files until the server ends."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from cryoice_scipion.constants import COORDINATES_SCALED, GOOD, PIXEL_SIZE_DIFFERS
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CoordinatesError
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, PickTable, picks_of_rows, read_picks
from cryoice_scipion.core.formats.matching import assign_picks
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.images.reading import resolve_pixel_size
from cryoice_scipion.core.maps import bad_area
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.maps.scoring import particle_diameters
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, Pick, number_in_flag, to_json
from cryoice_scipion.core.results.balance import names_in_short
from cryoice_scipion.core.results.run_folder import COCO, KEPT, REGIONS, REJECTED, RunFolder
from cryoice_scipion.core.screening.region_files import RegionFiles
from cryoice_scipion.core.screening.stars import StarFiles
from cryoice_scipion.core.serve.outlines import mask_paths, outlines_of
from cryoice_scipion.core.serve.pictures import FINER, finer_picture, probability_picture, write_views
from cryoice_scipion.core.serve.screener import Screener
from cryoice_scipion.core.serve.uploads import number_of, open_upload, stem_for

_MOST = 20  # results that are kept; the oldest is deleted
RESULT, ALL = "result.json", "all.zip"
SHOWN = "shown.json"  # what the page shows of a result


@dataclasses.dataclass
class Upload:
    """What the form of the page holds."""

    micrograph: Path
    coordinates: Optional[Path] = None
    pixel_size: str = ""  # Å/px
    diameter: str = ""  # Å


class Tries:
    """The results of uploaded micrographs, each in a folder of its own."""

    def __init__(self, folder: Path, screener: Screener) -> None:
        """Take a folder that belongs to the server."""
        self.folder, self._screener = folder, screener
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._made: List[int] = []

    def new_folder(self) -> Tuple[int, Path]:
        """Make the folder of the next result and return its number too. The oldest result may be deleted."""
        with self._lock:
            number = next(self._numbers)
            self._made.append(number)
            old = self._made[:-_MOST]
            self._made = self._made[-_MOST:]
        for one in old:
            shutil.rmtree(self.folder / str(one), ignore_errors=True)
        folder = self.folder / str(number)
        RunFolder(folder).make()
        return number, folder

    def screen(self, folder: Path, upload: Upload) -> Dict[str, Any]:
        """Screen an upload and return what the page shows.

        Raises
        ------
        CryoIceError
            When something is missing or wrong.
        """
        name, stem = upload.micrograph.name, stem_for(upload.micrograph.name)
        image = open_upload(upload.micrograph)
        given = number_of(upload.pixel_size, "Pixel size", "Å/px")
        size, _ = resolve_pixel_size(image, given)
        diameter = number_of(upload.diameter, "Particle diameter", "Å")
        task = MicrographTask(1, str(upload.micrograph), stem, size)
        table = _coordinates(upload.coordinates, task) if upload.coordinates else None
        config = ScreenConfig.make(pixel_size=given, particle_diameter=diameter, outlier=False)
        _check_diameters(task, config)
        mapped, record = self._screener.screen(task, config, folder)
        classmap = ClassMap.load(folder / mapped.raw_path)
        cells = bad_area.probabilities(classmap, 0.0)
        write_views(image.as_float32(), classmap.border, mapped.pixel_size, folder)
        (folder / "probability.png").write_bytes(probability_picture(cells.probability))
        record = dataclasses.replace(record, path=name)
        _write_regions(folder, record)
        if table is not None:
            stars = StarFiles(folder, table, config)
            stars.add(record)
            stars.write()
        (folder / RESULT).write_text(json.dumps(to_json(record), indent=1), encoding="utf-8")
        picks = in_micrograph_pixels(task.picks, Frame(mapped.shape, mapped.pixel_size), config, mapped.flags)
        data = shown(record, cells, self._screener.model.recommended_threshold, picks)
        return {**data, "notes": _notes(record)}

    def file(self, number: int, key: str, low_pass: Optional[int] = None) -> Optional[Tuple[Path, str]]:
        """Return the path of a file of a result, and the name to download it under; None if there is none.

        Parameters
        ----------
        low_pass : int, optional
            Å, of a finer picture. None: the usual one.
        """
        folder = self.folder / str(number)
        if number not in self._made or not (folder / RESULT).is_file():
            return None
        stem = str(json.loads((folder / RESULT).read_text(encoding="utf-8"))["stem"])
        run = RunFolder(folder)
        paths = {
            "picture.jpg": run.base(stem),
            "mean.jpg": "mean.jpg",
            "spectrum.jpg": "spectrum.jpg",
            "probability.png": "probability.png",
            "map.mrc": run.probability(stem),
            "mask.mrc": run.mask(stem),
            "thumbnail.png": run.thumbnail(stem),
            "result.json": RESULT,
            "accepted.star": str(KEPT),
            "rejected.star": str(REJECTED),
            "regions.csv": REGIONS,
            "regions.json": COCO,
        }
        if key == ALL:
            _pack(folder, stem, paths)
        path = folder / {**paths, ALL: ALL, SHOWN: SHOWN}.get(key, "none")
        if key == "picture.jpg" and low_pass is not None:
            path = finer_picture(str(folder / FINER), None, low_pass, folder / "picture")
        return (path, f"{stem}_{key}") if path.is_file() else None


def _notes(record: MicrographRecord) -> List[str]:
    """Return sentences on pixel sizes that contradict each other."""
    header = number_in_flag(record.flags, PIXEL_SIZE_DIFFERS)
    coordinates = number_in_flag(record.flags, COORDINATES_SCALED)
    used = f"{record.pixel_size:g} Å/px"
    found = []
    if header is not None:
        found.append(f"The file says {header:g} Å/px. The given {used} are used: check which is right.")
    if coordinates is not None:
        found.append(f"The coordinates are at {coordinates:g} Å/px. They were scaled to {used}.")
    return found


def _write_regions(folder: Path, record: MicrographRecord) -> None:
    """Write the regions as CSV and COCO JSON, which name the upload without its folder."""
    files, own = RegionFiles(folder), folder / RunFolder(folder).regions(record.stem)
    files.note(record)
    files.refresh()
    found = json.loads(own.read_text(encoding="utf-8"))
    found["images"] = [{**one, "file_name": record.path} for one in found["images"]]
    own.write_text(json.dumps(found), encoding="utf-8")
    files.write_coco([record])


def _pack(folder: Path, stem: str, paths: Dict[str, str]) -> None:
    """Write all files of a result into one, unless it is there."""
    if not (folder / ALL).is_file():
        with replacing(folder / ALL) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, path in paths.items():
                if (folder / path).is_file():
                    packed.write(folder / path, f"{stem}/{stem}_{name}")


def _check_diameters(task: MicrographTask, config: ScreenConfig) -> None:
    """Refuse coordinates of particles of unknown size, before the micrograph is mapped.

    Raises
    ------
    CoordinatesError
        When neither the form nor the file has the size.
    """
    try:
        particle_diameters(task.picks, config, 1.0, task.path)
    except CoordinatesError as error:
        raise CoordinatesError(error.what, error.reason, "enter it in Å") from None


def _coordinates(path: Path, task: MicrographTask) -> PickTable:
    """Read an uploaded coordinate file, and give its coordinates to the micrograph.

    A file that names one micrograph, or none, belongs to the uploaded one, whatever the name is.

    Raises
    ------
    CoordinatesError
        When the file cannot be read, is empty, or names other micrographs.
    """
    table = read_picks(path)
    if not len(table):
        raise CoordinatesError(path, "has no coordinates", "give a file with coordinates, or none")
    assign_picks(table, [task])
    names = [str(name) for name in table.table[MICROGRAPH].unique()]
    if not task.picks and len(names) == 1:
        task.picks = picks_of_rows(table.table, np.arange(len(table)))
        table.unmatched = []
    if not task.picks:
        reason = f"names other micrographs ({names_in_short(names)})"
        raise CoordinatesError(path, reason, "give the coordinates of this micrograph")
    if len(names) == 1:
        table.table[MICROGRAPH] = Path(task.path).name
    return table


def shown(record: MicrographRecord, cells: bad_area.Cells, threshold: float, picks: Sequence[Pick]) -> Dict[str, Any]:
    """Return what the page shows of a screened micrograph; the coordinates are in its px."""
    shape, pixel_size = record.shape or (0, 0), record.pixel_size or 1.0
    kept = {score.id: score.kept for score in record.scores}
    return {
        "name": Path(record.path).name,
        "width": shape[1],
        "height": shape[0],
        "pixel_size": pixel_size,
        "bad_area": record.bad_area,
        "areas": {name: share for name, share in record.areas.items() if name != GOOD},
        "grade": record.grade,
        "confidence": record.grade_confidence,
        "reason": record.grade_reason,
        "mask": mask_paths(cells, bad_area.good_mask(cells, threshold), Frame(shape, pixel_size)),
        "regions": outlines_of(cells, threshold, Frame(shape, pixel_size)),
        "diameter": (record.particle_diameter or 0.0) / pixel_size,
        "picks": [[pick.x, pick.y, int(kept.get(pick.id, False))] for pick in picks],
    }
