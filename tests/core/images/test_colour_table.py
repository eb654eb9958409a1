# SPDX-License-Identifier: GPL-3.0-or-later
"""The 256 colours of a thumbnail are close to the ones it should have."""

import numpy as np
import pytest

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.images.colour_table import HALO, KEPT_INDEX, REJECTED_INDEX, SHADES, TINT, colour_table
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour, rgb

BAD_CLASSES = tuple(name for name in CLASSES if name != GOOD)
LEVELS = np.arange(256)


@pytest.mark.parametrize("number", range(len(BAD_CLASSES) + 1))
def test_any_number_of_classes_has_room(number):
    table = colour_table(BAD_CLASSES[:number])
    greys = table.colours[table.entries[0]]
    assert np.abs(greys - LEVELS[:, None]).max() <= 1
    steps = 255 / (100 / max(1, number) - 1)
    for index, name in enumerate(BAD_CLASSES[:number]):
        colour = np.array(rgb(class_colour(name)))
        tinted = LEVELS[:, None] + TINT * (colour - LEVELS[:, None])
        assert np.abs(table.colours[table.entries[1 + index]] - tinted).max() <= steps
        assert (table.colours[table.entries[1 + number + index]] == colour).all()
        assert (table.colours[table.class_index(index)] == colour).all()


def test_marks_have_their_colours_and_a_white_halo():
    table = colour_table(BAD_CLASSES[:2])
    assert tuple(table.colours[KEPT_INDEX]) == rgb(KEPT) and tuple(table.colours[REJECTED_INDEX]) == rgb(REJECTED)
    assert (table.marked[0] == np.arange(256)).all(), "the first kind of pixel changes nothing"
    assert (table.marked[2 * SHADES] == KEPT_INDEX).all() and (table.marked[3 * SHADES] == REJECTED_INDEX).all()
    halo = table.colours[table.marked[SHADES]]
    assert np.abs(halo - (table.colours + HALO * (255 - table.colours))).max() < 15
