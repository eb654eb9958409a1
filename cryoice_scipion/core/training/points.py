# SPDX-License-Identifier: GPL-3.0-or-later
"""Return labelled positions from coordinates, label images and clean micrographs. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.errors import SettingsError, counted, plural
from cryoice_scipion.core.evaluation.labels import LabelledMicrograph, find_labelled, read_label_image
from cryoice_scipion.core.formats.coordinates import PickTable, read_picks
from cryoice_scipion.core.formats.matching import match_picks
from cryoice_scipion.core.formats.pick_tables import PIXEL_SIZE
from cryoice_scipion.core.records import MicrographTask
from cryoice_scipion.core.regions.labels import LabelFile

_IN_BOX = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
_PURE = (0.1, 0.6)  # a cell is good below the first share of bad pixels, and bad above the second


def from_coordinates(
    tasks: Sequence[MicrographTask], good: PickTable, bad: PickTable, clean: Sequence[MicrographTask] = ()
) -> List[LabelledMicrograph]:
    """Return the labelled positions of a user's GOOD and BAD coordinates.

    BAD coordinates have the class that their column ``cryoiceClass`` names; without one they are "bad". Coordinates of
    other micrographs are left out and counted in a warning of their table.

    Raises
    ------
    SettingsError
        When there is no GOOD or no BAD coordinate, or none of them belongs to one of the micrographs.
    """
    pieces: Dict[int, List[pd.DataFrame]] = {task.id: [] for task in tasks}
    for label, table in ((GOOD, good), (BAD, bad)):
        rows, unmatched, _, warnings = match_picks(table, list(tasks))
        table.warnings += warnings
        if unmatched:
            number, names = sum(unmatched.values()), ", ".join(sorted(unmatched)[:3])
            given = counted(number, f"{label} coordinate belongs", f"{label} coordinates belong")
            left_out = plural(number, "is left out", "are left out")
            table.warnings.append(f"{table.source}: {given} to other micrographs ({names}) and {left_out}")
        for task_id, positions in rows.items():
            if len(positions):
                pieces[task_id].append(_labelled(table.table.iloc[positions], label))
        if not len(table):
            raise SettingsError(table.source, f"holds no {label} coordinate", f"label {label} places")
        if not any(len(positions) for positions in rows.values()):
            raise SettingsError(
                table.source, f"no {label} coordinate belongs to one of {counted(len(tasks), 'micrograph')}",
                "give the micrographs that the coordinates were picked on; their names must match",
            )  # fmt: skip
    found = [
        LabelledMicrograph(task.path, task.stem, task.pixel_size, pd.concat(pieces[task.id], ignore_index=True))
        for task in tasks
        if pieces[task.id]
    ]
    known = {item.stem: item for item in found}
    for task in clean:
        if task.stem in known:
            known[task.stem].clean = True
        else:
            found.append(LabelledMicrograph(task.path, task.stem, task.pixel_size, clean=True))
    return found


def _labelled(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    points = pd.DataFrame({"x": rows["rlnCoordinateX"].astype(float), "y": rows["rlnCoordinateY"].astype(float)})
    points["label"] = label
    if label == BAD and "cryoiceClass" in rows:
        named = rows["cryoiceClass"].isin(set(CLASSES) - {GOOD})
        points.loc[named, "label"] = rows["cryoiceClass"][named]
    points["origin"] = "coordinate"
    if PIXEL_SIZE in rows:
        points[PIXEL_SIZE] = rows[PIXEL_SIZE].astype(float)
    return points


def places_in_boxes(
    labels: LabelFile, source: Path, tasks: Sequence[MicrographTask] = ()
) -> Tuple[PickTable, PickTable]:
    """Return GOOD and BAD coordinates in labelled boxes: the centre, and the middle between it and each corner.

    Parameters
    ----------
    source : Path
        The file of the boxes, for messages.
    tasks : sequence of MicrographTask
        The micrographs. Stems tell those of one file name apart, by a folder in front.
    """
    paths = {task.stem: task.path for task in tasks}
    rows = [
        (box.x + across * box.width, box.y + down * box.height, paths.get(stem, stem), box.label)
        for stem, box in labels.boxes()
        for across, down in _IN_BOX
    ]
    table = pd.DataFrame(rows, columns=["rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "cryoiceClass"])
    is_good = table["cryoiceClass"] == GOOD
    good, bad = (PickTable(part.reset_index(drop=True), str(source)) for part in (table[is_good], table[~is_good]))
    return good, bad


def from_label_images(
    folder: Path, per_class: int, seed: int, cell: float = 64.0, window: float = 256.0
) -> List[LabelledMicrograph]:
    """Return positions drawn from the label images of a simulated data set, and its particles.

    A random draw rarely includes particles. Without them a network classifies large ones as contamination.

    Parameters
    ----------
    folder : Path
        Holds micrographs/STEM.mrc and labels/STEM.mrc (mode 0, codes of ``CLASSES``, own pixel size), and good.star
        with the particles, if there is one.
    per_class : int
        Positions drawn per micrograph and class, at most; as many particles, and twice as many other good ones.
    seed : int
        Seed of the draw.
    cell : float
        Side in Å of the square whose pixels determine the label of a position; mixed squares are left out.
    window : float
        Side of a patch in Å; positions are at least a quarter of it inside the frame.

    Raises
    ------
    SettingsError
        When the folder holds no micrograph with a label image.
    """
    found = []
    particles = _particles(folder / "good.star")
    for index, item in enumerate(find_labelled(folder)):
        rng = np.random.default_rng([seed, index])
        points = _draw(item, per_class, cell, window, rng)
        known = particles.get(item.stem, points[:0])
        chosen = known.iloc[rng.permutation(len(known))[:per_class]]
        points = pd.concat([points, chosen], ignore_index=True) if len(chosen) else points
        found.append(dataclasses.replace(item, points=points, complete=True))
    return found


def _particles(path: Path) -> Dict[str, pd.DataFrame]:
    """Return the particles of a data set by micrograph; none where there is no such file."""
    if not path.is_file():
        return {}
    table = read_picks(path).table
    points = _labelled(table, GOOD).assign(origin="particle")
    stems = table["rlnMicrographName"].map(lambda name: Path(str(name)).stem)
    return dict(tuple(points.groupby(stems.to_numpy())))


def cell_labels(codes: NDArray[np.uint8], step: int) -> NDArray[np.int16]:
    """Return the class code of each cell of ``step`` px, −1 where good and bad are mixed or the label is doubtful.

    Pixels whose code is no class are doubtful. Shape (rows // step, columns // step): cells that reach over the edge
    are left out.
    """
    rows, columns = codes.shape[0] // step, codes.shape[1] // step
    cells = codes[: rows * step, : columns * step].reshape(rows, step, columns, step).transpose(0, 2, 1, 3)
    cells = cells.reshape(rows, columns, -1)
    counts = np.stack([(cells == code).mean(axis=2) for code in range(len(CLASSES))], axis=-1)
    bad = counts[..., 1:].sum(axis=-1)
    unknown = 1.0 - counts[..., 0] - bad
    labels: NDArray[np.int16] = counts[..., 1:].argmax(axis=-1).astype(np.int16) + 1
    labels[bad <= _PURE[0]] = 0
    labels[((bad > _PURE[0]) & (bad < _PURE[1])) | (unknown > _PURE[0])] = -1
    return labels


def _draw(
    item: LabelledMicrograph, per_class: int, cell: float, window: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Return random positions of each class; none if the micrograph's header cannot be read or has no pixel size."""
    codes, sampling = read_label_image(Path(item.labels))
    if item.pixel_size is None:  # the error is reported when the micrograph is read
        return item.points
    step = max(1, round(cell / sampling))
    labels = cell_labels(codes, step)
    margin = int(np.ceil(window / 4 / cell))
    inner = np.zeros_like(labels, dtype=bool)
    inner[margin : labels.shape[0] - margin, margin : labels.shape[1] - margin] = True
    pieces = []
    for code in np.unique(labels[inner]):
        if code < 0 or CLASSES[code] == BORDER:
            continue
        rows, columns = np.nonzero((labels == code) & inner)
        chosen = rng.permutation(len(rows))[: per_class * (2 if code == 0 else 1)]
        jitter = rng.uniform(0.25, 0.75, size=(len(chosen), 2))
        positions = (np.stack([columns[chosen], rows[chosen]], axis=1) + jitter) * step * sampling / item.pixel_size
        pieces.append(
            pd.DataFrame({"x": positions[:, 0], "y": positions[:, 1], "label": CLASSES[code], "origin": "area"})
        )
    return pd.concat(pieces, ignore_index=True) if pieces else item.points
