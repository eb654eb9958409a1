# SPDX-License-Identifier: GPL-3.0-or-later
"""Grey levels and shortened names, which pictures and windows share."""

import numpy as np
import pytest

from cryoice_scipion.core.images.grey_levels import grey_levels
from cryoice_scipion.core.images.shortening import shortened


def test_values_between_black_and_white_become_grey_levels_in_proportion():
    assert grey_levels(np.array([-5.0, 0.0, 1.0, 2.0, 9.0]), 0.0, 2.0).tolist() == [0, 0, 128, 255, 255]
    assert grey_levels(np.array([3.0, 4.0]), 3.0, 3.0).tolist() == [0, 255]


@pytest.mark.parametrize(
    "room, expected",
    [(12, "FoilHole_123"), (11, "Foi…ole_123"), (4, "F…23"), (2, "…3"), (0, "…3")],
)
def test_a_name_is_shortened_in_the_middle_only_as_far_as_needed(room, expected):
    assert shortened("FoilHole_123", room) == expected


def test_the_width_may_be_that_of_a_font():
    assert shortened("abcdefghi", 80, width=lambda text: 10 * len(text)) == "ab…efghi"
