# SPDX-License-Identifier: GPL-3.0-or-later
"""A position beyond any micrograph is left out and counted, in every format; the other rows are read."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from reader_seeds import SEEDS, seeds_of  # noqa: E402

from cryoice_scipion.core.formats.coordinates import read_picks
from cryoice_scipion.core.formats.table import FORMATS

VALUES = ("3e9", "-3e9", "1e307", "nan", "inf", "-inf")
#: Two coordinates in each format of text; the first one's x is left open.
TEXTS = {
    ".star": "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n{} 20\n30 40\n",
    ".box": "{} 20 180 180\n30 40 180 180\n",
    ".json": '{{"boxes": [[{}, 20, "manual"], [30, 40, "manual"]]}}',
    ".cbox": "{}\t20\t80\t80\t0.5\t70\t70\n30\t40\t80\t80\t0.25\t70\t70\n",
    ".pos": "data_m1\nloop_\n _xcoor\n _ycoor\n {} 2\n 3 4\n",
    ".csv": "x,y\n{},20\n30,40\n",
    ".txt": "30 40\n{} 20\n",
}
_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _array(value):
    array = np.load(io.BytesIO(seeds_of(".cs")[0]))[:2]
    array["location/center_x_frac"][0] = float(value)
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write(folder, suffix, value):
    """Write two coordinates, of which the first has this x."""
    path = folder / f"m{suffix}"
    if suffix in TEXTS:
        path.write_text(TEXTS[suffix].format(_JSON.get(value, value) if suffix == ".json" else value))
        return path
    (folder / "particles.cs").write_bytes(_array(value))
    if suffix == ".cs":
        return folder / "particles.cs"
    path.write_text(SEEDS[".csg"][0].replace("num_items: 3", "num_items: 2"))
    return path


@pytest.mark.parametrize("suffix", [suffix for one in FORMATS for suffix in one.suffixes])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_an_impossible_position_is_left_out(tmp_path, suffix):
    for value in VALUES:
        picks = read_picks(write(tmp_path, suffix, value))
        assert (len(picks), picks.left_out) == (1, {"unreadable_row": 1}), value
