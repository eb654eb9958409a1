# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels and the cells that hold their centres."""

import numpy as np
import pytest

from cryoice_scipion.core.images.grid import cells_at, containing_cells


@pytest.mark.parametrize(
    "number, step, sampling, cells, expected",
    [
        (6, 1.0, 2.0, 3, [0, 0, 1, 1, 2, 2]),
        (5, 2.0, 3.0, 4, [0, 1, 1, 2, 3]),  # centres at 1, 3, 5, 7, 9 Å
        (4, 4.0, 2.0, 8, [1, 3, 5, 7]),  # pixels larger than cells: the middle lies on an edge
        (4, 1.0, 1.0, 2, [0, 1, 1, 1]),  # the last cell goes on
        (0, 1.0, 1.0, 2, []),
    ],
)
def test_each_pixel_is_in_the_cell_that_holds_its_centre(number, step, sampling, cells, expected):
    assert containing_cells(number, step, sampling, cells).tolist() == expected


def test_a_point_is_in_the_cell_around_it_and_beyond_the_ends_in_the_last_one():
    assert cells_at(np.array([-3.0, 0.0, 1.9, 2.0, 5.9, 6.0, 99.0]), 2.0, 3).tolist() == [0, 0, 0, 1, 2, 2, 2]
