# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the regions of bad area of all micrographs: regions.csv during the run, regions.json (COCO) at its end."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple, Union

from cryoice_scipion.constants import FAILED
from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.archives import RESTORE, read_stored
from cryoice_scipion.core.json_files import parse_json, read_json
from cryoice_scipion.core.records import MicrographRecord, Region
from cryoice_scipion.core.regions import coco
from cryoice_scipion.core.results.run_folder import COCO, REGIONS, RunFolder, writing
from cryoice_scipion.core.results.run_sums import MicrographValues
from cryoice_scipion.core.screening.csv_table import CsvTable

Micrograph = Union[MicrographValues, MicrographRecord]
COLUMNS = (
    "micrograph", "id", "class", "confidence", "x", "y", "width", "height", "area_nm2", "diameter_A", "likeliest",
)  # fmt: skip


def row_of(stem: str, region: Region) -> Dict[str, str]:
    """Return the row of a region in regions.csv."""
    values = (
        stem, region.id, region.cls, f"{region.confidence:.4f}", region.x, region.y, region.width, region.height,
        region.area, region.diameter, region.likeliest,
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, values)))


class RegionFiles(CsvTable):
    """regions.csv, with one row a region, and regions.json."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the run."""
        super().__init__(folder / REGIONS, COLUMNS, _rows)
        self._folder = folder
        self._unread: Counter[str] = Counter()  # micrographs whose regions cannot be read, by reason

    @property
    def warnings(self) -> List[str]:
        """Return why the regions of some micrographs cannot be read, one line a reason."""
        what = f"{COCO} has earlier regions or none for"
        return [f"{what} {number} of the micrographs: {why}" for why, number in self._unread.items()]

    def write_coco(self, micrographs: Sequence[Micrograph]) -> None:
        """Join the files of these micrographs into one; see :attr:`warnings`."""
        images: List[Dict[str, Any]] = []
        self._unread.clear()
        with writing(self._folder):
            coco.write_coco(self._folder / COCO, images, self._annotations(micrographs, images))

    def _annotations(self, micrographs: Sequence[Micrograph], images: List[Dict[str, Any]]) -> Iterator[Dict[str, Any]]:
        """Yield the regions of all micrographs with new numbers, and add the entries of the micrographs to a list."""
        number, paths, earlier = 0, RunFolder(self._folder), None
        for micrograph in micrographs:
            if micrograph.status == FAILED:  # it has no regions; a file may be of an earlier result
                continue
            path = self._folder / paths.regions(micrograph.stem)
            try:
                found = parse_json(read_stored(path))
                entries, regions = list(found["images"]), [dict(one) for one in found["annotations"]]
            except (ImageError, OSError, ValueError, KeyError, TypeError) as error:
                if not isinstance(error, ImageError):  # that of an archive
                    reason = "files are missing or damaged, singly or with their archive"
                    error = ImageError(path.parent, reason, RESTORE)
                self._unread[str(error)] += 1
                earlier = _present(self._folder / COCO) if earlier is None else earlier
                entries, regions = earlier.get(micrograph.id, ([], []))
            images += entries
            for one in regions:
                number += 1
                yield {**one, "id": number}


def _present(path: Path) -> Dict[int, Tuple[List[Any], List[Any]]]:
    """Return the entries of the present regions.json, by id of the micrograph; none if it cannot be read."""
    found: Dict[int, Tuple[List[Any], List[Any]]] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = read_json(path)
        for image in content["images"]:
            found[image["id"]] = [image], []
        for one in content["annotations"]:
            found[one["image_id"]][1].append(one)
    return found


def _rows(record: MicrographRecord) -> List[Dict[str, str]]:
    return [row_of(record.stem, region) for region in record.regions]
