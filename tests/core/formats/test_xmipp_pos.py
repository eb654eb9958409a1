# SPDX-License-Identifier: GPL-3.0-or-later
"""One Xmipp .pos with the picks of several micrographs: as a column, or as blocks; of one micrograph as Xmipp does."""

import pytest

from cryoice_scipion.core.formats.coordinates import MICROGRAPH, X, read_picks

LOOP = "loop_\n _xcoor\n _ycoor\n _enabled\n"


@pytest.mark.parametrize(
    ("text", "found", "disabled"),
    [
        (f"data_mic_001\n{LOOP} 1 2 1\n 3 4 -1\ndata_mic_002\n{LOOP} 5 6 1\n", [("mic_001", 1), ("mic_002", 5)], 1),
        ("data_particles\nloop_\n _micrograph\n _xcoor\n _ycoor\n Run/a.mrc 1 2\n 0001 3 4\n",
         [("Run/a.mrc", 1), ("0001", 3)], 0),
        (f"data_header\nloop_\n _state\n Manual\ndata_particles\n{LOOP} 1 2 1\ndata_particles_auto\n{LOOP} 3 4 1\n",
         [("all", 1), ("all", 3)], 0),
        (f"data_DefaultFamily\n{LOOP} 1 2 1\n", [("all", 1)], 0),
        (f"data_Ribosome\n{LOOP} 1 2 1\n", [("all", 1)], 0),
        (f"data_particles\n{LOOP} 1 2 1\ndata_mic_001\n{LOOP} 3 4 1\ndata_mic_002\n{LOOP} 5 6 1\n",
         [("all", 1), ("mic_001", 3), ("mic_002", 5)], 0),
    ],
)  # fmt: skip
def test_picks_get_the_micrograph_of_their_row_or_block(tmp_path, text, found, disabled):
    (tmp_path / "all.pos").write_text("# XMIPP_STAR_1 *\n" + text)
    picks = read_picks(tmp_path / "all.pos")
    assert list(zip(picks.table[MICROGRAPH], picks.table[X])) == found
    assert picks.left_out == ({"disabled": disabled} if disabled else {})
