# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinate files that users reported, and where each pick belongs: for the command line and for Scipion's import.

The micrographs are 1024 px wide and high, at 2 Å/px.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import mrcfile
import numpy as np

SIDE, PIXEL_SIZE = 1024, 2.0
NAMES = ("gridA/mic_001", "gridA/mic_002", "gridB/mic_001", "numbered/0001", "numbered/0002", "odd/name with blanks")
GRID_A, BOTH, NUMBERED = ["gridA"], ["gridA", "gridB"], ["numbered"]
HEAD = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
TWO_GRIDS = HEAD + "".join(f"grid{g}/mic_001.mrc {x} {x}\n" for g, x in zip("AABBB", range(100, 600, 100)))
BINNED = (
    "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnMicrographPixelSize #2\n1 4.0\n\n"
    "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnOpticsGroup #4\n"
    + "".join(f"gridA/mic_001.mrc {x} {x} 1\n" for x in (100, 200, 200, 200))
)
POS = (
    "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\n _cost\n Supervised 0.0\n"
    "data_particles\nloop_\n _xcoor\n _ycoor\n 200 210\n 300 310\n"
    "data_particles_auto\nloop_\n _xcoor\n _ycoor\n _cost\n _enabled\n 400 410 0.91 1\n"
    " 500 510 0.88 1\n 600 610 0.35 -1\n"
)
POS_WITHOUT_MANUAL = (
    "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\n Review\n"
    "data_particles\nloop_\n _xcoor\n _ycoor\n"
    "data_particles_auto\nloop_\n _xcoor\n _ycoor\n _cost\n _enabled\n"
    " 250 260 0.97 1\n 350 360 0.93 1\n 450 460 0.90 1\n"
)
TOPAZ = (
    "x_coord\ty_coord\timage_name\tscore\n100\t110\tmic_001_topazpicks\t1.25\n200\t210\tmic_001_topazpicks\tnan\n"
    "300\t310\tmic_002_topazpicks\t-0.5\n"
)
FILAMENT = (
    "data_global\n\n_cbox_format_version 1.0\n\ndata_cbox_vertices\nloop_\n_VertexX #1\n_VertexY #2\n10 10\n20 20\n\n"
    "data_cbox\nloop_\n_CoordinateX #1\n_CoordinateY #2\n_Width #3\n_Height #4\n_Confidence #5\n"
    "60 60 80 80 0.8\n140 140 80 80 <NA>\n220 220 80 80 0.6\n"
)
TWO_BLOCKS = f"{HEAD}mic_001.mrc 100 100\n\n{HEAD}mic_002.mrc 300 300\nmic_002.mrc 400 400\n"
NUMBERS = "micrograph,x,y,score\n0001,100,110,.9\n0001,200,210,.8\n0002,300,310,nan\n"
HELIX = "100 100 80 80 -1\n500 400 80 80 -2\n"  # refused

Pick = Tuple[int, int, Optional[float]]  # px of the micrograph, and the picker's score; None: not known


class Case(NamedTuple):
    """A coordinate file and its right answer."""

    folders: List[str]  # of the micrographs of the run
    file: str
    text: str
    picks: Dict[str, List[Pick]]  # by micrograph
    left_out: Dict[str, int] = {}


def _diagonal(*positions: int) -> List[Pick]:
    return [(x, x, None) for x in positions]


CASES = {
    "Xmipp": Case(
        GRID_A, "mic_001.pos", POS,
        {"gridA/mic_001": [(200, 210, None), (300, 310, None), (400, 410, 0.91), (500, 510, 0.88)]}, {"disabled": 1},
    ),
    "Xmipp, automatic picks only": Case(
        GRID_A, "mic_002.pos", POS_WITHOUT_MANUAL,
        {"gridA/mic_002": [(250, 260, 0.97), (350, 360, 0.93), (450, 460, 0.90)]},
    ),
    "filament": Case(
        GRID_A, "mic_001.cbox", FILAMENT,
        {"gridA/mic_001": [(100, 100, 0.8), (180, 180, None), (260, 260, 0.6)]},
    ),
    "two blocks": Case(
        GRID_A, "a.star", TWO_BLOCKS, {"gridA/mic_001": _diagonal(100), "gridA/mic_002": _diagonal(300, 400)}
    ),
    "two grids": Case(
        BOTH, "a.star", TWO_GRIDS,
        {"gridA/mic_001": _diagonal(100, 200), "gridB/mic_001": _diagonal(300, 400, 500)},
    ),
    "first of two grids": Case(
        GRID_A, "a.star", TWO_GRIDS, {"gridA/mic_001": _diagonal(100, 200)}, {"unmatched": 3}
    ),
    "second of two grids": Case(
        ["gridB"], "a.star", TWO_GRIDS, {"gridB/mic_001": _diagonal(300, 400, 500)}, {"unmatched": 2}
    ),
    "binned": Case(GRID_A, "a.star", BINNED, {"gridA/mic_001": _diagonal(200, 400, 400, 400)}),
    "numbered": Case(
        NUMBERED, "a.csv", NUMBERS,
        {"numbered/0001": [(100, 110, 0.9), (200, 210, 0.8)], "numbered/0002": [(300, 310, None)]},
    ),
    "Topaz": Case(
        GRID_A, "t.txt", TOPAZ,
        {"gridA/mic_001": [(100, 110, 1.25), (200, 210, None)], "gridA/mic_002": [(300, 310, -0.5)]},
    ),
    "blanks": Case(["odd"], "name with blanks.box", "60 60 80 80\n", {"odd/name with blanks": _diagonal(100)}),
}  # fmt: skip


def write_micrographs(folder):
    """Write the micrographs: noise."""
    for name in NAMES:
        path = folder / f"{name}.mrc"
        path.parent.mkdir(exist_ok=True)
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32))
            mrc.voxel_size = PIXEL_SIZE
    return folder
