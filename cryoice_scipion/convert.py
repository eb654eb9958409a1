# SPDX-License-Identifier: GPL-3.0-or-later
"""Scipion sets <-> core records; the only place that knows both. Imports no torch.

Sets are read from first to last item and closed before anything else is done with what was read: sqlite blocks
the writer of a set for as long as a reader has not finished. Identifiers of the input are kept.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import pandas as pd
from pwem.objects import Coordinate, Micrograph, SetOfCoordinates, SetOfMicrographs
from pyworkflow.object import Float, Pointer, String

from cryoice_scipion.constants import ACCEPTED, NO_MICROGRAPH
from cryoice_scipion.core.data.coordinates import picks_by_micrograph, write_star
from cryoice_scipion.core.errors import CryoIceError
from cryoice_scipion.core.images.naming import match_names, stem_of
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size
from cryoice_scipion.core.records import Judgement, MicrographTask, Pick, PickScore


@dataclasses.dataclass
class MicrographRow:
    """One micrograph of a set, without pyworkflow's machinery."""

    id: int
    name: str  # micName, by which coordinates and micrographs are matched
    path: str  # absolute; "12@stack.mrcs" for a frame of a stack
    stem: str  # unique in its set; names the files that are written of it


# ---- reading ------------------------------------------------------------------------------------------------


def micrograph_path(micrograph: Any) -> str:
    """Return the absolute path of a micrograph, in the core's notation where it is a frame of a stack."""
    index, name = micrograph.getLocation()
    path = os.path.abspath(name)
    return f"{index}@{path}" if index else path


def read_micrographs(micrographs: SetOfMicrographs) -> List[MicrographRow]:
    """Return the micrographs of a set by id. Of two with one stem, the later one's gets ``_<id>`` appended."""
    rows: List[MicrographRow] = []
    taken: set = set()
    for item in micrographs.iterItems():
        path = micrograph_path(item)
        stem = stem_of(path)
        while stem in taken:
            stem += f"_{item.getObjId()}"
        taken.add(stem)
        rows.append(MicrographRow(item.getObjId(), item.getMicName() or stem, path, stem))
    micrographs.close()
    return rows


def picks_of(
    coordinates: SetOfCoordinates, scale: float = 1.0, ids: Optional[Dict[int, int]] = None
) -> Dict[int, List[Pick]]:
    """Return the picks of each micrograph, by micrograph id.

    Parameters
    ----------
    coordinates : SetOfCoordinates
        Read once, in one pass. The box size is the diameter of the picks.
    scale : float
        What positions and diameters are multiplied by: px of the coordinates' micrographs -> px of the screened ones.
    ids : dict, optional
        Micrograph id of a coordinate -> id of the screened micrograph; coordinates of others are left out.
        None: all, under their own ids.
    """
    box = coordinates.getBoxSize()
    diameter = box * scale if box else None
    picks: Dict[int, List[Pick]] = {}
    for item in coordinates.iterItems():
        micrograph = item.getMicId() if ids is None else ids.get(item.getMicId())
        if micrograph is not None:
            pick = Pick(item.getObjId(), item.getX() * scale, item.getY() * scale, diameter)
            picks.setdefault(micrograph, []).append(pick)
    coordinates.close()
    return picks


def match_micrographs(own: Sequence[MicrographRow], other: Sequence[MicrographRow]) -> Dict[int, int]:
    """Return id in ``own`` -> id in ``other`` of the same micrograph, matched by name.

    Ids are compared only when not a single name matches: two sets that number their micrographs alike but share
    some names have been renumbered, and ids would then pair wrong micrographs.

    Raises
    ------
    CryoIceError
        When a name fits more than one micrograph.
    """
    by_name = {row.name: row.id for row in reversed(other)}
    pairs = match_names([row.name for row in own], list(by_name))
    matched = {row.id: by_name[name] for row in own for name in [pairs.get(row.name)] if name is not None}
    if matched:
        return matched
    available = {row.id for row in other}
    return {row.id: row.id for row in own if row.id in available}


def screening_tasks(
    micrographs: Iterable[MicrographRow], picks: Dict[int, List[Pick]], sampling: float
) -> List[MicrographTask]:
    """Return what is to be screened: every micrograph, those without picks too."""
    return [MicrographTask(row.id, row.path, row.stem, sampling, picks.get(row.id, [])) for row in micrographs]


# ---- writing ------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Placing:
    """How a coordinate of the input becomes one of the output."""

    scale: float = 1.0
    ids: Optional[Dict[int, int]] = None  # micrograph ids as in the output's micrographs; None: unchanged
    names: Dict[int, str] = dataclasses.field(default_factory=dict)  # micName by output micrograph id

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
            item.setMicName(self.names[micrograph])
        elif item.getMicId() in self.names:
            item.setMicId(0)  # the number of another micrograph there


def write_coordinates(
    coordinates: SetOfCoordinates,
    scores: Dict[int, PickScore],
    placing: Placing,
    kept: SetOfCoordinates,
    rejected: SetOfCoordinates,
) -> None:
    """Put every coordinate of the input into exactly one of two sets, with its goodness and class."""
    for item in coordinates.iterItems():
        score = scores.get(item.getObjId()) or PickScore(item.getObjId(), None, NO_MICROGRAPH, False)
        placing.apply(item)
        mark_coordinate(item, score)
        (kept if score.kept else rejected).append(item)
    coordinates.close()
    template = Coordinate(x=0, y=0)
    mark_coordinate(template, PickScore(0, None, "", False))
    for output in (kept, rejected):
        give_columns(output, template)


def mark_coordinate(item: Coordinate, score: PickScore) -> None:
    """Set the attributes that every coordinate of ours carries. Goodness NULL: it could not be scored."""
    item._cryoiceGoodness = Float(score.goodness)
    item._cryoiceClass = String(score.cls)


def write_micrographs(
    micrographs: SetOfMicrographs,
    judgements: Dict[int, Judgement],
    folder: str,
    accepted: SetOfMicrographs,
    discarded: SetOfMicrographs,
) -> None:
    """Put every micrograph of the input into exactly one of two sets, with what was found out about it."""
    template = None
    for item in micrographs.iterItems():
        judgement = judgements[item.getObjId()]
        mark_micrograph(item, judgement, folder)
        (accepted if judgement.status == ACCEPTED else discarded).append(item)
        template = template or item.clone()
    micrographs.close()
    for output in (accepted, discarded):
        if template is not None:
            give_columns(output, template)


def mark_micrograph(item: Any, judgement: Judgement, folder: str) -> None:
    """Set the attributes that every micrograph of ours carries; paths are relative to the project."""

    def inside(name: str) -> Optional[str]:
        return os.path.join(folder, name) if name else None

    item._cryoiceBadArea = Float(judgement.bad_area)
    item._cryoiceStatus = String(judgement.status)
    item._cryoiceReason = String(judgement.reason or None)
    item._cryoiceMask = String(inside(judgement.mask))
    item._cryoiceMap = String(inside(judgement.probability))


def give_columns(output: Any, template: Any) -> None:
    """Give an empty set the columns of an item, so that it can be read like any other.

    pyworkflow makes the tables of a set with its first item; most readers fail on a set that never had one. An
    output that does not exist is worse still: protocols scheduled on it wait for ever.
    """
    if output.getSize() > 0:
        return
    item = template.clone()
    item.setObjId(1)
    output.append(item)
    output._getMapper().delete(item)
    output._size.set(0)
    output._idCount = 0


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
    """Write coordinates with their micrographs' absolute paths and pixel size, and the box size as diameter."""
    micrographs = coordinates.getMicrographs()
    sampling = micrographs.getSamplingRate()
    paths = {row.id: row.path for row in read_micrographs(micrographs)}
    rows = [
        (pick.x, pick.y, paths[micrograph], sampling, pick.diameter or 0.0)
        for micrograph, picks in picks_of(coordinates).items()
        for pick in picks
        if micrograph in paths
    ]
    names = ["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnMicrographPixelSize", "cryoiceDiameter"]
    write_star(path, pd.DataFrame(rows, columns=names))


def write_micrographs_star(path: Path, micrographs: Sequence[SampledRow]) -> None:
    """Write a list of micrographs with their pixel sizes."""
    rows = [(row.path, sampling) for row, sampling in micrographs]
    write_star(path, pd.DataFrame(rows, columns=["rlnMicrographName", "rlnMicrographPixelSize"]))


# ---- for the imports ----------------------------------------------------------------------------------------


def typical_diameter(table: pd.DataFrame) -> int:
    """Return the median diameter of picks in px, even as box sizes are; 0 where the table does not say."""
    diameters = table["cryoiceDiameter"].dropna() if "cryoiceDiameter" in table else []
    return 2 * int(round(float(np.median(diameters)) / 2)) if len(diameters) else 0


def header_pixel_size(paths: Sequence[Path]) -> float:
    """Return the pixel size (Å/px) that the header of the first micrograph says.

    Raises
    ------
    CryoIceError
        When there is no micrograph, or its header says nothing believable.
    """
    if not paths:
        raise CryoIceError("micrographs", "there are none", "give a folder that holds some")
    return resolve_pixel_size(read_micrograph(paths[0]), None)[0]


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
    """Append micrographs, given by paths inside the project, to a set."""
    for path in paths:
        item = Micrograph()
        item.setFileName(str(path))
        item.setMicName(path.stem)
        item.setAcquisition(output.getAcquisition())
        item.setSamplingRate(output.getSamplingRate())
        output.append(item)


def fill_coordinates(output: SetOfCoordinates, table: pd.DataFrame, micrographs: SetOfMicrographs) -> Dict[str, int]:
    """Append picks to a set, rounded to integers; return how many are of which unknown micrograph.

    Parameters
    ----------
    table : pandas.DataFrame
        As ``read_picks`` of the core gives it: centres in px, and micrograph names.
    """
    rows = read_micrographs(micrographs)
    tasks = screening_tasks(rows, {}, micrographs.getSamplingRate())
    positions, unmatched = picks_by_micrograph(table, tasks)
    x, y = table["rlnCoordinateX"].to_numpy(), table["rlnCoordinateY"].to_numpy()
    for row in rows:
        for place in positions.get(row.id, []):
            item = Coordinate(x=int(round(float(x[place]))), y=int(round(float(y[place]))))
            item.setMicId(row.id)
            item.setMicName(row.name)
            output.append(item)
    give_columns(output, Coordinate(x=0, y=0))
    return unmatched


def pointer_to(protocol: Any, output: str) -> Pointer:
    """Return a pointer to a protocol's output by name: it survives streaming and reloading, one to the set does not."""
    return Pointer(protocol, extended=output)
