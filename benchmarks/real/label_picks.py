# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what each real pick sits on, from hand-drawn areas, and write a GOOD and a BAD set of coordinates.

Writes to the output folder: labelled_picks.csv (all pickers), labelled_<picker>.csv, counts.csv (micrograph x picker
x label), bad.star (picks that sit on a bad area) and good.star (hand-picked particles that do not).
Labels: "good"; a class of the project when the centre is inside an area; "near <class>" when the outline of one is
closer than half a particle; "doubtful" where the annotators are not sure (in neither set).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rasterise import ANNOTATIONS, UNSURE, Annotation, annotated, label_image, load_annotations
from scipy.ndimage import distance_transform_edt

from cryoice_scipion.constants import BAD, CLASSES, GOOD
from cryoice_scipion.core.formats.coordinates import read_picks, write_star
from cryoice_scipion.core.formats.pick_tables import BOX_SIZE, DIAMETER
from cryoice_scipion.core.images.atomic import replacing

HERE = Path(__file__).resolve().parent
RAW = HERE.parents[1].parent / "shared" / "real" / "empiar10017"
PICKERS = ("picker_cryolo", "picker_deeppicker", "picker_topaz")
HAND_PICKED = "manual_true"
CELL = 4.0  # px of the grid on which annotators are compared
COLUMNS = ["rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", DIAMETER, BOX_SIZE, "cryoiceClass", "picker"]


def label_points(points: NDArray[np.float64], annotations: Sequence[Annotation], near: float) -> List[str]:
    """Labels of the points (n, 2), x and y in px, by what the annotators agree on; ``near``: half a particle, px."""
    codes = label_image(annotations, CELL)
    drawn = ~np.isin(codes, (CLASSES.index(GOOD), UNSURE))
    at = tuple(np.clip((points[:, axis] / CELL).astype(int), 0, codes.shape[1 - axis] - 1) for axis in (1, 0))
    own = codes[at]
    labels = np.full(len(points), GOOD, dtype=object)
    if drawn.any():
        distance, (row, column) = distance_transform_edt(~drawn, return_indices=True)
        close = distance[at] * CELL < near
        labels[close] = ["near " + CLASSES[code] for code in codes[row[at], column[at]][close]]
    labels[own == UNSURE] = "doubtful"
    labels[drawn[at]] = [CLASSES[code] for code in own[drawn[at]]]
    return [str(label) for label in labels]


def label_folder(folder: Path, known: Dict[str, List[Annotation]], near: float) -> pd.DataFrame:
    """All picks of one picker's folder, in its order, with their labels."""
    table = read_picks(folder).table.copy()
    stems = table["rlnMicrographName"].map(lambda name: Path(str(name)).stem)
    parts = []
    for stem, drawn in known.items():
        part = table[stems == stem].copy()
        points = part[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(dtype=float)
        part["rlnMicrographName"] = stem + ".mrc"
        part["cryoiceClass"] = label_points(points, drawn, near)
        part["picker"] = folder.name
        parts.append(part)
    missing = sorted(set(stems) - set(known))
    if missing:
        print("{}: no annotation of {}; left out".format(folder.name, ", ".join(missing)), file=sys.stderr)
    return pd.concat(parts, ignore_index=True).filter(COLUMNS)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read annotations and picks, write the tables, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, default=ANNOTATIONS, metavar="DIR")
    parser.add_argument("--coordinates", type=Path, default=RAW / "coordinates", metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pickers", nargs="+", default=list(PICKERS), help="folders in the coordinates' folder")
    parser.add_argument("--near", type=float, default=90.0, help="half a particle, px (default 90)")
    options = parser.parse_args(argv)

    folder = options.coordinates / HAND_PICKED
    wanted = {path.stem for path in folder.glob("*.box")}
    stems = [stem for stem in annotated(options.annotations) if stem in wanted]
    known = {stem: load_annotations(stem, options.annotations) for stem in stems}
    if not known:
        parser.error(f"no annotation in {options.annotations} is of a micrograph in {folder}")
    options.output.mkdir(parents=True, exist_ok=True)

    tables = [label_folder(options.coordinates / picker, known, options.near) for picker in options.pickers]
    for picker, table in zip(options.pickers, tables):
        _write_csv(table, options.output / f"labelled_{picker}.csv")
    every = pd.concat(tables, ignore_index=True)
    _write_csv(every, options.output / "labelled_picks.csv")
    counts = every.groupby(["rlnMicrographName", "picker", "cryoiceClass"]).size().unstack(fill_value=0)
    _write_csv(counts.reset_index(), options.output / "counts.csv")

    bad = every[every["cryoiceClass"].isin([name for name in CLASSES if name != GOOD])]
    hand = label_folder(folder, known, options.near)
    good = hand[hand["cryoiceClass"].str.startswith((GOOD, "near "))]
    write_star(options.output / f"{BAD}.star", bad)
    write_star(options.output / f"{GOOD}.star", good)
    print(counts.to_string())
    print(f"{len(bad)} picks on bad areas; {len(good)} of {len(hand)} hand-picked particles kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
