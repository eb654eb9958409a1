# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion sets <-> core records; the only module that knows both. Imports no torch.

Sets are read from first to last item and closed before anything else is done with what was read: sqlite blocks
the writer of a set for as long as a reader has not finished. Identifiers of the input are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Float, Pointer, String

from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import BOX_SIZE, Matches, picks_by_micrograph, sizes_of, write_star
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size
from cryoice_scipion.core.maps.scoring import BOX_TO_DIAMETER
from cryoice_scipion.core.records import MicrographRecord, MicrographTask, Pick, PickScore
from cryoice_scipion.core.results.micrograph_fields import FIELDS
from cryoice_scipion.databases import in_parts
from cryoice_scipion.set_writing import append_unread, give_columns


@dataclasses.dataclass
class MicrographRow:
    """One micrograph of a set, without pyworkflow's machinery."""

    id: int
    name: str  # micName, by which coordinates and micrographs are matched
    path: str  # absolute; "12@stack.mrcs" for a frame of a stack
    stem: str  # unique in its set; names the files that are written of it


# ---- reading ------------------------------------------------------------------------------------------------


def micrograph_row(
    key: int, index: int, name: str, mic_name: Optional[str], stems: Dict[str, int], stem: str = ""
) -> MicrographRow:
    """Return a micrograph by its id and location, and enter its stem into ``stems`` (stem -> id).

    Of two with one stem, the later one's gets ``_<id>`` appended. ``stem``: the one that it has already.
    """
    path = os.path.abspath(name)
    path = f"{index}@{path}" if index else path  # the core's notation for a frame of a stack
    stem = stem or stem_of(path)
    while stems.setdefault(stem, key) != key:
        stem += f"_{key}"
    return MicrographRow(key, mic_name or stem, path, stem)


def read_micrographs(micrographs: SetOfMicrographs) -> List[MicrographRow]:
    """Return the micrographs of a set by id, each with a stem of its own."""
    rows: List[MicrographRow] = []
    stems: Dict[str, int] = {}
    for item in micrographs.iterItems():
        rows.append(micrograph_row(item.getObjId(), *item.getLocation(), item.getMicName(), stems))
    micrographs.close()
    return rows


def picks_of(coordinates: SetOfCoordinates) -> Dict[int, List[Pick]]:
    """Return the picks of each micrograph, by micrograph id; read in one pass."""
    box_size = coordinates.getBoxSize() or None
    picks: Dict[int, List[Pick]] = {}
    for item in coordinates.iterItems():
        picks.setdefault(item.getMicId(), []).append(Pick(item.getObjId(), item.getX(), item.getY(), None, box_size))
    coordinates.close()
    return picks


# ---- writing ------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class CoordinateTransform:
    """How a coordinate of the input becomes one of the output."""

    scale: float = 1.0
    ids: Optional[Dict[int, int]] = None  # micrograph ids as in the output's micrographs; None: unchanged
    micrographs: Dict[int, MicrographRow] = dataclasses.field(default_factory=dict)  # the output's, by id

    def apply(self, item: Coordinate) -> None:
        """Move a coordinate to the output's scale and micrograph. Rounded: the px of a Coordinate are integers."""
        if self.scale != 1.0:
            item.setX(int(round(item.getX() * self.scale)))
            item.setY(int(round(item.getY() * self.scale)))
        if self.ids is None:
            return
        micrograph = self.ids.get(item.getMicId())
        if micrograph is not None:
            item.setMicId(micrograph)
            item.setMicName(self.micrographs[micrograph].name)
        elif item.getMicId() in self.micrographs:
            item.setMicId(0)  # the number of another micrograph there


def mark_coordinate(item: Coordinate, score: PickScore) -> None:
    """Set the attributes that every coordinate of ours carries. Goodness NULL: it could not be scored."""
    item._cryoiceGoodness = Float(score.goodness)
    item._cryoiceClass = String(score.cls)


def mark_micrograph(item: Any, record: MicrographRecord, folder: str) -> None:
    """Set the attributes that every micrograph of ours carries; paths are relative to the project."""

    def inside(name: str) -> Optional[str]:
        return os.path.join(folder, name) if name else None

    for field in FIELDS:
        if field.attribute:
            value = field.value(record)
            value = inside(value) if field.is_path else value
            setattr(item, field.attribute, Float(value) if field.is_number else String(value or None))


def items_by_id(items: Any, keys: Sequence[int]) -> Iterator[Any]:
    """Yield the items of a set that have these ids, each valid until the next; the set is closed in the end."""
    for part in in_parts(keys):
        yield from items.iterItems(where=f"id IN ({','.join(map(str, part))})")
    items.close()


# ---- for the training ---------------------------------------------------------------------------------------

SampledRow = Tuple[MicrographRow, float]  # with its pixel size, Å/px


def sampled_micrographs(micrographs: SetOfMicrographs) -> List[SampledRow]:
    """Return the micrographs of a set, each with its pixel size."""
    sampling = micrographs.getSamplingRate()
    return [(row, sampling) for row in read_micrographs(micrographs)]


def labelled_micrographs(sets: Iterable[SetOfCoordinates]) -> List[SampledRow]:
    """Return the micrographs on which at least one coordinate of the sets lies, each once.

    Micrographs without any coordinate are left out: nobody has said that they are clean.

    Raises
    ------
    CryoIceError
        When two micrographs have one stem, by which the training would take them for one.
    """
    found: Dict[str, SampledRow] = {}
    for coordinates in sets:
        with_picks = set(coordinates.getUniqueValues("_micId")) if coordinates.getSize() else set()
        coordinates.close()
        for row, sampling in sampled_micrographs(coordinates.getMicrographs()):
            if row.id not in with_picks:
                continue
            known = found.setdefault(stem_of(row.path), (row, sampling))
            if os.path.realpath(known[0].path) != os.path.realpath(row.path):
                remedy = "rename one of them, or train on one set of micrographs"
                raise CryoIceError(row.path, f"has the name of {known[0].path}", remedy)
    return list(found.values())


def write_picks_star(path: Path, coordinates: SetOfCoordinates) -> None:
    """Write coordinates with their micrographs' absolute paths, pixel size and box size."""
    micrographs = coordinates.getMicrographs()
    sampling = micrographs.getSamplingRate()
    paths = {row.id: row.path for row in read_micrographs(micrographs)}
    rows = [
        (pick.x, pick.y, paths[micrograph], sampling, pick.box_size or 0.0)
        for micrograph, picks in picks_of(coordinates).items()
        for pick in picks
        if micrograph in paths
    ]
    names = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnMicrographPixelSize", BOX_SIZE]
    write_star(path, pd.DataFrame(rows, columns=names))


def write_micrographs_star(path: Path, micrographs: Sequence[SampledRow]) -> None:
    """Write a list of micrographs with their pixel sizes."""
    rows = [(row.path, sampling) for row, sampling in micrographs]
    write_star(path, pd.DataFrame(rows, columns=["rlnMicrographName", "rlnMicrographPixelSize"]))


# ---- for the imports ----------------------------------------------------------------------------------------


def typical_box_size(table: pd.DataFrame) -> int:
    """Return the median box size of coordinates in px, an even number; 0 where the table does not say.

    Where it says the particle diameter only, the box is half as large again: a screening takes two thirds of it.
    """
    diameter, box_size = sizes_of(table)
    sizes = np.where(np.isnan(box_size), diameter / BOX_TO_DIAMETER, box_size)
    sizes = sizes[~np.isnan(sizes)]
    return 2 * int(round(float(np.median(sizes)) / 2)) if len(sizes) else 0


def header_pixel_size(paths: Sequence[Path]) -> float:
    """Return the pixel size (Å/px) in the header of the first micrograph that has a believable one.

    Raises
    ------
    CryoIceError
        When there is no micrograph, or none that can be read has a believable pixel size.
    """
    first: Optional[CryoIceError] = None
    for path in paths:
        try:
            return resolve_pixel_size(read_micrograph(path), None)[0]
        except CryoIceError as error:
            first = first or error
    raise first or CryoIceError("micrographs", "there are none", "give a folder that holds some")


def first_shape(paths: Iterable[Path]) -> Optional[Sequence[int]]:
    """Return rows and columns (px) of the first micrograph that can be read; None when none can."""
    for path in paths:
        with contextlib.suppress(CryoIceError):
            return read_micrograph(path).pixels.shape
    return None


def link_into(folder: Path, paths: Sequence[Path]) -> List[Path]:
    """Link files into a folder of the project and return the links."""
    links = []
    for path in paths:
        link = folder / path.name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(path.resolve())
        links.append(link)
    return links


def fill_micrographs(output: SetOfMicrographs, paths: Sequence[Path]) -> None:
    """Append micrographs, given by paths inside the project, to a set; the files may be broken."""
    shape = first_shape(paths)
    for path in paths:
        item = Micrograph()
        item.setFileName(str(path))
        item.setMicName(path.stem)
        item.setAcquisition(output.getAcquisition())
        item.setSamplingRate(output.getSamplingRate())
        append_unread(output, item, shape)


def fill_coordinates(output: SetOfCoordinates, table: pd.DataFrame, micrographs: SetOfMicrographs) -> Matches:
    """Append picks to a set, rounded to integers; return which of them belong to which micrograph.

    Parameters
    ----------
    table : pandas.DataFrame
        As ``read_picks`` of the core gives it: centres in px, and micrograph names.
    """
    rows = read_micrographs(micrographs)
    matches = picks_by_micrograph(table, [MicrographTask(row.id, row.path, row.stem) for row in rows])
    x, y = table["rlnCoordinateX"].to_numpy(), table["rlnCoordinateY"].to_numpy()
    for row in rows:
        for index in matches.rows.get(row.id, []):
            item = Coordinate(x=int(round(float(x[index]))), y=int(round(float(y[index]))))
            item.setMicId(row.id)
            item.setMicName(row.name)
            output.append(item)
    give_columns(output, Coordinate(x=0, y=0))
    return matches


def pointer_to(protocol: Any, output: str) -> Pointer:
    """Return a pointer to a protocol's output by name: it survives streaming and reloading, one to the set does not."""
    return Pointer(protocol, extended=output)
