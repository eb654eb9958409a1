# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare verdicts on coordinates with label images: how many coordinates of each class are removed.

The kinds are the bad classes and the border under the particle's centre; NEAR, clean under the centre but with bad area
or border within ``NEAR_DISTANCE``; and CLEAN_PICK. Coordinates on doubtful labels are left out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.evaluation.labelled_sets import EvaluatedMap
from cryoice_scipion.core.evaluation.labels import read_label_image
from cryoice_scipion.core.evaluation.map_metrics import interval, weights
from cryoice_scipion.core.formats.coordinates import MICROGRAPH, picks_of_rows, read_picks
from cryoice_scipion.core.images.grid import Frame, cells_at
from cryoice_scipion.core.images.naming import stem_of
from cryoice_scipion.core.maps.placement import in_micrograph_pixels
from cryoice_scipion.core.maps.scoring import goodness_of_picks, is_kept, positions_of
from cryoice_scipion.core.records import Pick

NEAR_DISTANCE = 80.0  # Å from the particle's centre
NEAR, CLEAN_PICK = f"clean, bad within {NEAR_DISTANCE:.0f} Å", "clean"
BAD_PICK = "all on bad area or border"
KINDS = (*(name for name in CLASSES if name != GOOD), NEAR, CLEAN_PICK)

Numbers = NDArray[np.float64]
Row = Dict[str, Any]


@dataclasses.dataclass
class PickVerdicts:
    """The coordinates of one micrograph: the label under each, and its goodness."""

    micrograph: str
    kinds: NDArray[np.str_]  # (n,): of KINDS
    distance: Numbers  # (n,): Å from the centre to the nearest bad area or border; 0 on it, inf where there is none
    goodness: Numbers  # (n,)


def pick_verdicts(
    micrograph: str, codes: NDArray[np.uint8], sampling: float, x: Numbers, y: Numbers, goodness: Numbers
) -> PickVerdicts:
    """Return the labels under coordinates. Coordinates outside the frame or on doubtful labels are left out.

    Parameters
    ----------
    codes : numpy.ndarray, shape (rows, columns)
        A label image: indices into CLASSES; other values are doubtful.
    sampling : float
        Å, side of a label pixel.
    x, y : numpy.ndarray, shape (n,)
        Centres in Å.
    goodness : numpy.ndarray, shape (n,)
        NaN: outside of the frame.
    """
    rows, columns = (cells_at(np.nan_to_num(at), sampling, size) for at, size in zip((y, x), codes.shape))
    under = codes[rows, columns]
    bad = (codes != CLASSES.index(GOOD)) & (codes < len(CLASSES))
    distances = distance_transform_edt(~bad) * sampling if bad.any() else np.full(codes.shape, np.inf)
    distance = distances[rows, columns]
    kinds = np.where(distance < NEAR_DISTANCE, NEAR, CLEAN_PICK).astype(object)
    for code in np.unique(under[under < len(CLASSES)]):
        if CLASSES[code] != GOOD:
            kinds[under == code] = CLASSES[code]
    known = (under < len(CLASSES)) & ~np.isnan(goodness)
    return PickVerdicts(micrograph, kinds[known].astype(str), distance[known], goodness[known])


def verdicts_of(evaluated: EvaluatedMap, picks: Sequence[Pick], config: ScreenConfig) -> PickVerdicts:
    """Return the verdicts on the coordinates of a micrograph that was evaluated with its label image.

    Coordinates at another pixel size are scaled, as in a screening.

    Raises
    ------
    CryoIceError
        When the label image cannot be read, or a particle diameter is not known.
    """
    loaded = evaluated.loaded
    frame = Frame(loaded.image.shape, loaded.pixel_size)
    placed = in_micrograph_pixels(picks, frame, config, loaded.flags)
    codes, sampling = read_label_image(Path(evaluated.image.labels))
    goodness = goodness_of_picks(evaluated.cells, placed, config, frame, evaluated.image.path)
    x, y = positions_of(placed).T * frame.pixel_size
    return pick_verdicts(evaluated.counts.name, codes, sampling, x, y, goodness)


def picks_of_folder(folder: Path) -> Dict[str, List[Pick]]:
    """Return the coordinates in picks.star of a data set folder by the stem of their micrograph; none without it."""
    path = folder / "picks.star"
    if not path.is_file():
        return {}
    table = read_picks(path).table
    found: Dict[str, List[Pick]] = {}
    for name, pick in zip(table[MICROGRAPH].astype(str), picks_of_rows(table, range(len(table)))):
        found.setdefault(stem_of(name), []).append(pick)
    return found


def drop_without_size(picks: Dict[str, List[Pick]]) -> int:
    """Remove the coordinates without a particle diameter, and return their number."""
    number = 0
    for name, found in picks.items():
        picks[name] = [pick for pick in found if pick.diameter or pick.box_size]
        number += len(found) - len(picks[name])
    return number


def removed(verdicts: Sequence[PickVerdicts], thresholds: Sequence[float], seed: int = 0) -> Dict[str, Row]:
    """Return for each kind that is there how many coordinates there are, and the share that each threshold removes.

    Intervals are those of a bootstrap over micrographs.
    """
    drawn = weights(len(verdicts), seed)
    rows: Dict[str, Row] = {}
    groups: List[Tuple[str, List[NDArray[np.bool_]]]] = [
        (kind, [one.kinds == kind for one in verdicts]) for kind in KINDS
    ]
    groups.insert(0, (BAD_PICK, [~np.isin(one.kinds, (NEAR, CLEAN_PICK)) for one in verdicts]))
    for kind, chosen in groups:
        total = np.array([int(each.sum()) for each in chosen])
        if not total.sum():
            continue
        shares = {}
        for threshold in thresholds:
            lost = np.array([int((~is_kept(one.goodness[c], threshold)).sum()) for one, c in zip(verdicts, chosen)])
            with np.errstate(invalid="ignore", divide="ignore"):
                values = (drawn @ lost.astype(float)) / (drawn @ total.astype(float))
            shares[f"{threshold:g}"] = interval(values).to_json()
        rows[kind] = {"picks": int(total.sum()), "micrographs": int((total > 0).sum()), "removed": shares}
    return rows


def by_distance(
    verdicts: Sequence[PickVerdicts], threshold: float, edges: Sequence[float] = (0, 20, 40, 60, 80, 120, 200, np.inf)
) -> List[Row]:
    """Return the share of clean coordinates removed at a threshold, by distance from bad area or border in Å."""
    clean = [np.isin(one.kinds, (NEAR, CLEAN_PICK)) for one in verdicts]
    distance = np.concatenate([one.distance[c] for one, c in zip(verdicts, clean)]) if verdicts else np.empty(0)
    goodness = np.concatenate([one.goodness[c] for one, c in zip(verdicts, clean)]) if verdicts else np.empty(0)
    rows = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (distance >= low) & (distance < high if np.isfinite(high) else distance <= high)
        share = float((~is_kept(goodness[inside], threshold)).mean()) if inside.any() else None
        name = f"{low:g} to {high:g} Å" if np.isfinite(high) else f"{low:g} Å and more"
        rows.append({"distance": name, "picks": int(inside.sum()), "removed": share})
    return rows
