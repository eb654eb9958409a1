# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the regions of bad area of all micrographs: regions.csv during the run, regions.json (COCO) at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.json_files import parse_json
from cryoice_scipion.core.records import MicrographRecord, Region
from cryoice_scipion.core.regions import coco
from cryoice_scipion.core.results.run_folder import COCO, REGIONS, RunFolder, writing
from cryoice_scipion.core.screening.csv_table import CsvTable

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

    def write_coco(self, stems: Sequence[str]) -> None:
        """Join the files of the micrographs with these names into one; a micrograph without a file is left out."""
        images: List[Dict[str, Any]] = []
        with writing(self._folder):
            coco.write_coco(self._folder / COCO, images, self._annotations(stems, images))

    def _annotations(self, stems: Sequence[str], images: List[Dict[str, Any]]) -> Iterator[Dict[str, Any]]:
        """Yield the regions of all micrographs with new numbers, and add the entries of the micrographs to a list."""
        number, paths = 0, RunFolder(self._folder)
        for stem in stems:
            path = self._folder / paths.regions(stem)
            try:
                found = parse_json(read_stored(path))
                images += found["images"]
                for one in found["annotations"]:
                    number += 1
                    yield {**one, "id": number}
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise ImageError(path, f"is damaged ({error})", "remove it, and screen the micrograph again") from None


def _rows(record: MicrographRecord) -> List[Dict[str, str]]:
    return [row_of(record.stem, region) for region in record.regions]
