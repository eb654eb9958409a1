# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert between Scipion sets and records of the core. Imports no torch.

Each set is read completely and closed before its items are used, because sqlite blocks the writer of a set while it is
being read. Outputs keep the ids of the input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import pandas as pd
from pwem.objects import Coordinate, Image, Micrograph, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Float, Pointer, String

from cryoice_scipion.constants import BAD, FAILED
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.formats.coordinates import BOX_SIZE, write_star
from cryoice_scipion.core.images.naming import output_stem, stem_of
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size
from cryoice_scipion.core.records import MicrographRecord, PickScore
from cryoice_scipion.core.results.micrograph_fields import FIELDS
from cryoice_scipion.databases import in_parts
from cryoice_scipion.monitor_pictures import picture_of
from cryoice_scipion.set_writing import append_unread

#: Attribute of a coordinate that a user has labelled: its class of bad area.
LABEL = "_cryoiceLabel"


@dataclasses.dataclass
class MicrographRow:
    """One micrograph of a set as plain data."""

    id: int
    name: str  # micName; coordinates and micrographs are matched by it
    path: str  # absolute; "12@stack.mrcs" for a frame of a stack
    stem: str  # unique in its set; output files are named after it


def box_size_of(coordinates: SetOfCoordinates) -> float:
    """Return the box size of a set in px; 0 if unknown."""
    return float(coordinates.getBoxSize() or 0)


# ---- reading ------------------------------------------------------------------------------------------------


def micrograph_row(
    key: int, index: int, name: str, mic_name: Optional[str], stems: Dict[str, int], stem: str = ""
) -> MicrographRow:
    """Return a micrograph by its id and location, and add its stem to ``stems`` (stem -> id).

    A long stem is shortened as on the command line. If it is taken, ``_<id>`` is appended.
    ``stem``: the stem from an earlier session, if any.
    """
    path = os.path.abspath(name)
    path = f"{index}@{path}" if index else path  # notation of the core for a frame of a stack
    stem = stem or output_stem(stem_of(path))
    while stems.setdefault(stem, key) != key:
        stem += f"_{key}"
    return MicrographRow(key, mic_name or stem, path, stem)


def read_micrographs(micrographs: SetOfMicrographs) -> List[MicrographRow]:
    """Return the micrographs of a set, each with a unique stem."""
    rows: List[MicrographRow] = []
    stems: Dict[str, int] = {}
    for item in micrographs.iterItems():
        rows.append(micrograph_row(item.getObjId(), *item.getLocation(), item.getMicName(), stems))
    micrographs.close()
    return rows


# ---- writing ------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class CoordinateTransform:
    """Transforms an input coordinate to an output coordinate."""

    scale: float = 1.0
    ids: Optional[Dict[int, int]] = None  # input micrograph id -> output micrograph id; None: unchanged
    micrographs: Dict[int, MicrographRow] = dataclasses.field(default_factory=dict)  # output micrographs, by id

    def apply(self, item: Coordinate) -> None:
        """Change a coordinate to the scale and micrograph of the output, rounded to whole pixels."""
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
            item.setMicId(0)  # in the output, this id belongs to another micrograph


def mark_coordinate(item: Coordinate, score: PickScore) -> None:
    """Set the cryoice attributes of an output coordinate. A NULL goodness means that it could not be scored."""
    item._cryoiceGoodness = Float(score.goodness)
    item._cryoiceClass = String(score.cls)


def attributes_of(record: MicrographRecord, folder: str) -> Dict[str, Any]:
    """Return the cryoice attributes of an output micrograph; paths are relative to the project."""
    found = {}
    for field in FIELDS:
        if field.attribute:
            value = field.value(record)
            value = os.path.join(folder, value) if field.is_path and value else value
            found[field.attribute] = value if field.is_number else value or None
    return found


def mark_micrograph(item: Any, record: MicrographRecord, folder: str) -> None:
    """Set the cryoice attributes of an output micrograph.

    Scipion's viewers and the monitors of facilities show the attribute ``thumbnail``. All items of a set have the same
    attributes, so a micrograph without a picture names its image file.
    """
    kinds = {field.attribute: Float if field.is_number else String for field in FIELDS}
    for name, value in attributes_of(record, folder).items():
        setattr(item, name, kinds[name](value))
    picture = picture_of(record, Path(folder)) if record.status != FAILED else ""
    item.thumbnail = Image(location=picture or item.getLocation())


def items_by_id(items: Any, keys: Sequence[int]) -> Iterator[Any]:
    """Yield the items of a set with these ids, each valid until the next one; then close the set."""
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
    """Return the micrographs that have at least one coordinate in any of the sets.

    Micrographs without coordinates are left out, because they are not known to be clean.

    Raises
    ------
    CryoIceError
        If two micrographs have the same stem, because training identifies micrographs by stem.
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
                raise CryoIceError(row.path, f"has the same name as {known[0].path}", remedy)
    return list(found.values())


def write_picks_star(path: Path, coordinates: SetOfCoordinates) -> None:
    """Write coordinates with the absolute path of their micrograph, pixel size and box size, and their labels."""
    micrographs, box_size = coordinates.getMicrographs(), box_size_of(coordinates)
    sampling = micrographs.getSamplingRate()
    paths = {row.id: row.path for row in read_micrographs(micrographs)}
    names = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnMicrographPixelSize", BOX_SIZE]
    rows: Dict[int, List[Tuple[Any, ...]]] = {}  # by micrograph
    for item in coordinates.iterItems():
        if item.getMicId() in paths:
            label = item.getAttributeValue(LABEL)
            row = (item.getX(), item.getY(), paths[item.getMicId()], sampling, box_size, label)
            rows.setdefault(item.getMicId(), []).append(row)
    coordinates.close()
    table = pd.DataFrame([row for part in rows.values() for row in part], columns=[*names, "cryoiceClass"])
    is_labelled = table["cryoiceClass"].notna().any()
    write_star(path, table.fillna({"cryoiceClass": BAD}) if is_labelled else table[names])


def write_micrographs_star(path: Path, micrographs: Sequence[SampledRow]) -> None:
    """Write a list of micrographs with their pixel sizes."""
    rows = [(row.path, sampling) for row, sampling in micrographs]
    write_star(path, pd.DataFrame(rows, columns=["rlnMicrographName", "rlnMicrographPixelSize"]))


# ---- for the imports ----------------------------------------------------------------------------------------


def header_pixel_size(paths: Sequence[Path]) -> float:
    """Return the pixel size (Å/px) from the header of the first micrograph with a plausible one.

    Raises
    ------
    CryoIceError
        If there is no micrograph, or no readable one with a plausible pixel size.
    """
    first: Optional[CryoIceError] = None
    for path in paths:
        try:
            return resolve_pixel_size(read_micrograph(path), None)[0]
        except CryoIceError as error:
            first = first or error
    raise first or CryoIceError("micrographs", "the folder contains none", "give a folder with micrographs")


def first_shape(paths: Iterable[Path]) -> Optional[Sequence[int]]:
    """Return rows and columns (px) of the first readable micrograph; None if there is none."""
    for path in paths:
        with contextlib.suppress(CryoIceError):
            return read_micrograph(path).shape
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
    """Append micrographs, given by paths inside the project, to a set; the files may be damaged."""
    shape = first_shape(paths)
    for path in paths:
        item = Micrograph()
        item.setFileName(str(path))
        item.setMicName(stem_of(path.name))
        item.setAcquisition(output.getAcquisition())
        item.setSamplingRate(output.getSamplingRate())
        append_unread(output, item, shape)


def pointer_to(protocol: Any, output: str) -> Pointer:
    """Return a pointer to an output by name; unlike one to the set, it stays valid in streaming and reloading."""
    return Pointer(protocol, extended=output)
