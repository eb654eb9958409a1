# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a search for regions has found: a table, a COCO file, BAD coordinates and a contact sheet."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cryoice_scipion.constants import BAD, CLASSES, GOOD
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.caption import INK, PAPER
from cryoice_scipion.core.images.palette import CLASS_COLOURS
from cryoice_scipion.core.images.shortening import shortened
from cryoice_scipion.core.regions.coco import annotation, image_entry, write_coco
from cryoice_scipion.core.results.run_folder import COCO, REGIONS
from cryoice_scipion.core.results.stored_maps import StoredMaps
from cryoice_scipion.core.screening.csv_table import without_formula
from cryoice_scipion.core.screening.region_search import FoundRegion

SHEET, BAD_SET = "contact_sheet.png", "bad.star"
COLUMNS = (
    "micrograph", "id", "class", "confidence", "expected_iou", "x", "y", "width", "height", "area_nm2", "diameter_A",
)  # fmt: skip
SURE = 0.5  # confidence of a region whose places are BAD coordinates
SPACING = 128.0  # Å between BAD coordinates in one region
MOST_PLACES = 25  # of a region
_SIDE, _ACROSS, _GAP, _LINE = 160, 8, 8, 15  # px of the contact sheet; pictures in a row
_LETTERS = 26  # of a name
_AROUND = 0.5  # of the longer side of a region, shown on each side of it
_BOX = CLASS_COLOURS["contamination"]  # can be seen on any grey


def write_found(folder: Path, maps: StoredMaps, found: Sequence[FoundRegion], top: int) -> None:
    """Write all files of a search.

    Parameters
    ----------
    found : sequence of FoundRegion
        Best first; their numbers in the files are their ranks.
    top : int
        Number of regions on the contact sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(folder / REGIONS, found)
    images = [image_entry(key, task.path, maps.frame(key).shape) for key, task in sorted(maps.tasks.items())]
    names = sorted({one.cls for one in found})
    entries = (_annotation(one, number, 1 + names.index(one.cls)) for number, one in enumerate(found, 1))
    write_coco(folder / COCO, images, entries, names)
    _write_bad_set(folder / BAD_SET, maps, found)
    if found:
        with replacing(folder / SHEET) as temporary:
            contact_sheet(maps, found[:top]).save(temporary, format="PNG", optimize=True)


def _write_table(path: Path, found: Sequence[FoundRegion]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, one in enumerate(found, 1):
            size = (f"{one.area / 100:.1f}", f"{2 * np.sqrt(one.area / np.pi):.1f}")
            shares = (f"{one.confidence:.4f}", f"{one.expected_iou:.4f}")
            writer.writerow([one.stem, number, without_formula(one.cls), *shares, *one.box, *size])


def _annotation(one: FoundRegion, number: int, category: int) -> Dict[str, Any]:
    ids, area = (number, one.micrograph, category), one.area / one.frame.pixel_size**2
    return {**annotation(ids, one.box, area, one.outline, one.confidence), "expected_iou": one.expected_iou}


def _write_bad_set(path: Path, maps: StoredMaps, found: Sequence[FoundRegion]) -> None:
    """Write places in the regions that are sure, as BAD coordinates for a training."""
    import pandas as pd

    from cryoice_scipion.core.formats.star import write_blocks

    rows: List[Tuple[float, float, str, str]] = []
    for one in found:
        if one.confidence >= SURE:
            name = one.cls if one.cls in CLASSES and one.cls != GOOD else BAD
            rows += [(x, y, maps.tasks[one.micrograph].path, name) for x, y in places_in(one)]
    columns = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "cryoiceClass"]
    write_blocks(path, [("particles", pd.DataFrame(rows, columns=columns))])


def places_in(one: FoundRegion) -> Iterator[Tuple[float, float]]:
    """Yield x and y in px of places in a region, ``SPACING`` apart, the deepest first."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(one.proposal.mask, 1))[1:-1, 1:-1]
    cells = np.argwhere(one.proposal.mask)
    cells = cells[np.argsort(-depth[tuple(cells.T)], kind="stable")]
    least, taken = SPACING / one.sampling, np.zeros((0, 2))
    scale = one.sampling / one.frame.pixel_size
    for cell in cells:
        if len(taken) == MOST_PLACES:
            return
        if not len(taken) or np.hypot(*(taken - cell).T).min() >= least:
            taken = np.vstack([taken, cell])
            row, column = (cell + 0.5 + [part.start for part in one.proposal.box]) * scale
            yield (
                round(min(float(column), one.frame.shape[1] - 1.0), 1),
                round(min(float(row), one.frame.shape[0] - 1.0), 1),
            )


def cell_of(index: int, across: int = _ACROSS) -> Tuple[int, int, int, int]:
    """Return left, top, right and bottom edge (px) of a region, with its text, on a sheet of so many columns."""
    left, top = _GAP + index % across * (_SIDE + _GAP), _GAP + index // across * (_SIDE + 2 * _LINE + _GAP)
    return left, top, left + _SIDE, top + _SIDE + 2 * _LINE


def columns_within(width: int) -> int:
    """Return how many columns of a contact sheet a width (px) has room for."""
    return max(1, (width - _GAP) // (_SIDE + _GAP))


def contact_sheet(maps: StoredMaps, found: Sequence[FoundRegion]) -> Image.Image:
    """Return a picture of regions with their surroundings, in the order of their ranks."""
    font = ImageFont.load_default(11)
    _, _, _, bottom = cell_of(len(found) - 1)
    sheet = Image.new("RGB", (_ACROSS * (_SIDE + _GAP) + _GAP, bottom + _GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    pictures: Dict[int, Image.Image] = {}
    for index, one in enumerate(found):
        if one.micrograph not in pictures:
            pictures[one.micrograph] = Image.fromarray(maps.picture(one.micrograph))
        left, top, _, _ = cell_of(index)
        sheet.paste(_crop(pictures[one.micrograph], one), (left, top))
        words = (f"{index + 1}  {one.cls} {one.confidence:.2f}", shortened(one.stem, _LETTERS))
        for line, text in enumerate(words):
            draw.text((left, top + _SIDE + 2 + line * _LINE), text, fill=INK, font=font)
    return sheet


def _crop(picture: Image.Image, one: FoundRegion) -> Image.Image:
    """Return the surroundings of a region with its box, in a square."""
    scale = picture.width / one.frame.shape[1]
    x, y, width, height = (value * scale for value in one.box)
    side = max(width, height) * (1 + 2 * _AROUND)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    crop = picture.transform(
        (_SIDE, _SIDE), Image.Transform.EXTENT, (left, top, left + side, top + side), fillcolor=128
    )
    shown = crop.convert("RGB")
    zoom = _SIDE / side
    corners = [(x - left) * zoom, (y - top) * zoom, (x + width - left) * zoom, (y + height - top) * zoom]
    ImageDraw.Draw(shown).rectangle(corners, outline=_BOX, width=2)
    return shown
