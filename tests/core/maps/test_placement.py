# SPDX-License-Identifier: GPL-3.0-or-later
"""Coordinates in pixels of other sizes, and upside down, come to their place on the micrograph."""

import pytest

from cryoice_scipion.core.config import ScreenConfig
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.placement import in_micrograph_pixels, scale_flags
from cryoice_scipion.core.records import Pick

FRAME = Frame([1000, 800], 2.0)


def placed(pick, flags=(), **settings):
    (found,) = in_micrograph_pixels([pick], FRAME, ScreenConfig(**settings), flags)
    return found


def test_coordinates_of_binned_micrographs_are_scaled_with_their_sizes():
    pick = placed(Pick(1, 100.0, 250.0, 20.0, 40.0, 4.0))
    assert (pick.x, pick.y, pick.diameter, pick.box_size) == (200.0, 500.0, 40.0, 80.0)
    assert scale_flags([Pick(1, 1.0, 1.0, None, None, 4.0)], FRAME, ScreenConfig()) == ["coordinates_scaled=4"]


@pytest.mark.parametrize("size", [None, 2.0, 2.03, 1.97])
def test_equal_pixel_sizes_change_nothing(size):
    pick = placed(Pick(1, 100.0, 250.0, None, 40.0, size))
    assert (pick.x, pick.y, pick.diameter, pick.box_size) == (100.0, 250.0, None, 40.0)
    assert scale_flags([Pick(1, 1.0, 1.0, None, None, size)], FRAME, ScreenConfig()) == []


def test_the_given_pixel_size_of_coordinates_has_priority_over_the_files():
    assert placed(Pick(1, 100.0, 0.0, None, None, 4.0), coordinates_pixel_size=8.0).x == 400.0
    assert placed(Pick(1, 100.0, 0.0, None, None, 4.0), coordinates_pixel_size=2.0).x == 100.0
    assert placed(Pick(1, 100.0, 0.0), coordinates_pixel_size=1.0).x == 50.0
    found = scale_flags([Pick(1, 1.0, 1.0, None, None, 4.0)], FRAME, ScreenConfig(coordinates_pixel_size=8.0))
    assert found == ["coordinates_scaled=8", "coordinates_pixel_size_differs=4"]


def test_a_corrected_pixel_size_of_the_micrograph_moves_no_coordinate():
    """Header and file agree on 4 Å/px, and the user corrects this to 2: the pixels are the same."""
    assert placed(Pick(1, 100.0, 0.0, None, None, 4.0), flags=["pixel_size_differs=4"]).x == 100.0
    assert placed(Pick(1, 100.0, 0.0, None, None, 8.0), flags=["pixel_size_differs=4"]).x == 400.0


def test_flipped_rows_count_from_the_other_end():
    assert placed(Pick(1, 10.0, 0.0), flip_y=True).y == 999.0
    assert placed(Pick(1, 10.0, 100.0, None, None, 4.0), flip_y=True).y == 799.0
