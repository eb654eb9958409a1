# SPDX-License-Identifier: GPL-3.0-or-later
"""Labelled positions on micrographs, from coordinates, label images and clean micrographs. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import mrcfile
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoice_scipion.constants import BAD, BORDER, CLASSES, GOOD
from cryoice_scipion.core.errors import ImageError, SettingsError
from cryoice_scipion.core.formats.coordinates import PickTable, picks_by_micrograph, read_picks
from cryoice_scipion.core.records import MicrographTask

COLUMNS = ["x", "y", "label", "origin"]
_PURE = (0.1, 0.6)  # a position is good below the first share of bad pixels in its cell, bad above the second


@dataclasses.dataclass
class LabelledMicrograph:
    """One micrograph and its labelled positions."""

    path: str
    stem: str
    pixel_size: Optional[float]  # Å/px; None: the header's
    points: pd.DataFrame  # columns x, y (px, MRC order), label (a class), origin (where the label came from)
    clean: bool = False  # the user calls the whole micrograph clean: backgrounds are drawn here
    inverted: bool = False  # particles are bright, whatever the others' are: a simulated session of its own
    complete: bool = False  # clean positions are among the points already: no background is drawn

    def is_bright(self, contrast: str) -> bool:
        """Return whether its particles are bright, where those of the others have ``contrast``, "dark" or "bright"."""
        return self.inverted != (contrast == "bright")


def from_coordinates(
    tasks: Sequence[MicrographTask], good: PickTable, bad: PickTable, clean: Sequence[MicrographTask] = ()
) -> List[LabelledMicrograph]:
    """Return the labelled positions of a user's GOOD and BAD coordinates.

    A column ``cryoiceClass`` of the BAD coordinates gives their class where it names one; else they are "bad".
    Coordinates of micrographs that are not there are left out and counted in a warning of their table.

    Raises
    ------
    SettingsError
        When not one GOOD, or not one BAD, coordinate lies on a micrograph that is there.
    """
    pieces: Dict[int, List[pd.DataFrame]] = {task.id: [] for task in tasks}
    for label, table in ((GOOD, good), (BAD, bad)):
        rows, unmatched, _, ambiguous = picks_by_micrograph(table.table, list(tasks))
        table.warnings += ambiguous
        if unmatched:
            number, names = sum(unmatched.values()), ", ".join(sorted(unmatched)[:3])
            table.warnings.append(
                f"{table.source}: {number} {label} coordinates are of micrographs not given ({names})"
            )
        for task_id, positions in rows.items():
            if len(positions):
                pieces[task_id].append(_labelled(table.table.iloc[positions], label))
        if not any(len(positions) for positions in rows.values()):
            raise SettingsError(
                table.source, f"no {label} coordinate belongs to one of the {len(tasks)} micrographs",
                "give the micrographs that the coordinates were picked on; their names must match",
            )  # fmt: skip
    empty = pd.DataFrame(columns=COLUMNS)
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
            found.append(LabelledMicrograph(task.path, task.stem, task.pixel_size, empty.copy(), clean=True))
    return found


def _labelled(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    points = pd.DataFrame({"x": rows["rlnCoordinateX"].astype(float), "y": rows["rlnCoordinateY"].astype(float)})
    points["label"] = label
    if label == BAD and "cryoiceClass" in rows:
        named = rows["cryoiceClass"].isin(set(CLASSES) - {GOOD})
        points.loc[named, "label"] = rows["cryoiceClass"][named]
    points["origin"] = "coordinate"
    return points


def from_label_images(
    folder: Path, per_class: int, seed: int, cell: float = 64.0, window: float = 256.0
) -> List[LabelledMicrograph]:
    """Return positions drawn from the label images of a simulated data set, and its particles.

    Particles are GOOD that a random draw hardly meets: without them a network takes large ones for contamination.

    Parameters
    ----------
    folder : Path
        Holds micrographs/STEM.mrc and labels/STEM.mrc (mode 0, codes of ``CLASSES``, own pixel size), and good.star
        with the particles, if there is one.
    per_class : int
        Positions drawn per micrograph and class, at most; as many particles, and twice as many other good ones.
    seed : int
        Of the draw.
    cell : float
        Side in Å of the square whose pixels decide a position's label; mixed squares are left out.
    window : float
        Side of a patch in Å; positions are at least a quarter of it inside the frame.

    Raises
    ------
    SettingsError
        When the folder holds no micrograph with a label image.
    """
    found = []
    particles = _particles(folder / "good.star")
    for index, path in enumerate(sorted((folder / "micrographs").glob("*.mrc"))):
        label_path = folder / "labels" / path.name
        if label_path.is_file():
            rng = np.random.default_rng([seed, index])
            points, pixel_size = _draw(path, label_path, per_class, cell, window, rng)
            known = particles.get(path.stem, points[:0])
            chosen = known.iloc[rng.permutation(len(known))[:per_class]]
            points = pd.concat([points, chosen], ignore_index=True) if len(chosen) else points
            found.append(
                LabelledMicrograph(str(path), path.stem, pixel_size, points, complete=True, inverted=is_inverted(path))
            )
    if not found:
        raise SettingsError(folder, "holds no micrographs/*.mrc with labels/*.mrc", "make one with 'cryoice simulate'")
    return found


def _particles(path: Path) -> Dict[str, pd.DataFrame]:
    """Return the particles of a data set by micrograph; none where there is no such file."""
    if not path.is_file():
        return {}
    table = read_picks(path).table
    points = _labelled(table, GOOD).assign(origin="particle")
    stems = table["rlnMicrographName"].map(lambda name: Path(str(name)).stem)
    return dict(tuple(points.groupby(stems.to_numpy())))


def is_inverted(path: Path) -> bool:
    """Return whether particles are bright, as the record of a simulated micrograph says; others are dark."""
    truth = path.parents[1] / "truth" / f"{path.stem}.json"
    if not truth.is_file():
        return False
    return bool(json.loads(truth.read_text(encoding="utf-8"))["config"].get("inverted", False))


def read_label_image(path: Path) -> tuple[NDArray[np.uint8], float]:
    """Return a label image's codes (rows, columns) and its pixel size in Å.

    Raises
    ------
    ImageError
        When it is no MRC of mode 0.
    """
    try:
        with mrcfile.open(path, permissive=True) as mrc:
            if mrc.data is None or mrc.data.dtype.kind not in "iu":
                raise ImageError(
                    path, "is no label image (MRC mode 0 with class codes)", "make it with 'cryoice simulate'"
                )
            return np.array(mrc.data, dtype=np.uint8), float(mrc.voxel_size.x)
    except (OSError, ValueError) as error:
        raise ImageError(path, f"cannot be read as a label image ({error})") from None


def cell_labels(codes: NDArray[np.uint8], step: int) -> NDArray[np.int16]:
    """Return the class code of each cell of ``step`` px, −1 where good and bad are mixed or nobody is sure.

    Pixels whose code is no class are those nobody is sure of. Shape (rows // step, columns // step): cells that reach
    over the edge are left out.
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
    path: Path, label_path: Path, per_class: int, cell: float, window: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, float]:
    codes, sampling = read_label_image(label_path)
    with mrcfile.mmap(path, permissive=True) as mrc:
        pixel_size = float(mrc.voxel_size.x)
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
        positions = (np.stack([columns[chosen], rows[chosen]], axis=1) + jitter) * step * sampling / pixel_size
        pieces.append(
            pd.DataFrame({"x": positions[:, 0], "y": positions[:, 1], "label": CLASSES[code], "origin": "area"})
        )
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=COLUMNS), pixel_size
